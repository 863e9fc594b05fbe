"""The systemd and journal commands that releases use."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from onebox_release.errors import ReleaseError
from onebox_release.report import log

QUERY = 60  # seconds for a query to systemd or the journal
CHANGE = 3600  # seconds for a start or stop; the units' own timeouts are far below


def systemctl(*arguments: str, timeout: float | None = CHANGE) -> None:
    """Run systemctl. Raises ReleaseError with its error if it fails or takes longer than `timeout`
    seconds."""
    result = _run("systemctl", *arguments, timeout=timeout)
    if result.returncode:
        raise ReleaseError(f"systemctl {' '.join(arguments)}: {result.stderr.strip()}")


def show(unit: str, *properties: str) -> dict[str, str]:
    """Return a unit's properties; for an unknown unit, systemd's defaults.

    A time is @ and the seconds of the epoch.
    """
    options = ("--timestamp=unix", "-p", ",".join(properties))
    output = _run("systemctl", "show", *options, unit).stdout
    return dict(line.split("=", 1) for line in output.splitlines())


def releases_up(app: str, processes: list[str]) -> list[str]:
    """Return the releases of an app with an active process, socket or target."""
    units = [f"{app}@*.target", f"{app}-web@*.socket"]
    units += [f"{app}-{process}@*.service" for process in ("web", *processes)]
    output = _run("systemctl", "list-units", "--plain", "--no-legend", "--all", *units).stdout
    states = (line.split()[:3] for line in output.splitlines())
    names = {name for name, _, active in states if active not in {"inactive", "failed"}}
    return sorted({name.partition("@")[2].rpartition(".")[0] for name in names})


def units(*filters: str) -> list[str]:
    """Return the names of the units that match systemctl's filters and patterns."""
    listing = ("list-units", "--plain", "--no-legend", "--all", *filters)
    return [line.split()[0] for line in _run("systemctl", *listing).stdout.splitlines()]


def run_checks() -> None:
    """Start the checks now instead of at their next run; ignore a failure to start."""
    _run("systemctl", "start", "--no-block", "onebox-checks.service")


def reset(unit: str) -> None:
    """Reset a unit's failed state, once its failure is reported in another way."""
    _run("systemctl", "reset-failed", unit)


def wait_until_inactive(pattern: str, seconds: float | None = None) -> None:
    """Wait for units to finish, for example a migration that an interrupted deploy started.

    Raises ReleaseError if one is still active after `seconds`; None has no limit.
    """
    listing = ("list-units", "--plain", "--no-legend", "--state=activating,active,deactivating")
    is_logged, start = False, time.monotonic()
    while units := _run("systemctl", *listing, pattern).stdout.split():
        if seconds is not None and time.monotonic() - start > seconds:
            raise ReleaseError(
                f"{units[0]} is still running after {seconds:.0f} s. Read its log: journalctl -u"
                f" {units[0]}; stop it: systemctl stop {units[0]}"
            )
        if not is_logged:
            log(f"Waiting for {units[0]} to finish")
            is_logged = True
        time.sleep(0.5)


def is_active(unit: str) -> bool:
    """Check whether a unit is active, activating or deactivating."""
    return show(unit, "ActiveState").get("ActiveState") not in {"inactive", "failed", None}


def cursor() -> str:
    """Return the cursor of the journal's last entry; "" if it is empty."""
    output = _run("journalctl", "--quiet", "-n", "1", "-o", "json", "--no-pager").stdout
    return str(json.loads(output)["__CURSOR"]) if output.strip() else ""


def journal(unit: str, lines: int = 400, after: str = "") -> str:
    """Return the last lines of a unit without timestamps: those after a cursor, or else those of
    its last start."""
    options = ("-n", str(lines), "-o", "cat", "--no-pager", "--quiet")
    if after:
        return _run("journalctl", "-u", unit, f"--after-cursor={after}", *options).stdout
    invocation = show(unit, "InvocationID").get("InvocationID")
    if not invocation:
        return _run("journalctl", "-u", unit, *options).stdout
    # The unit's own entries, and systemd's entries about it.
    own, of = f"_SYSTEMD_INVOCATION_ID={invocation}", f"INVOCATION_ID={invocation}"
    return _run("journalctl", own, "+", of, *options).stdout


def cpu_time(unit: str) -> float:
    """Return the seconds of CPU that a unit's processes and their ended children have used.

    From /proc (man 5 proc), as the control group's count needs accounting to be enabled.
    """
    ticks = 0
    for process in processes(unit):
        with suppress(OSError, IndexError, ValueError):
            stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
            # utime, stime, cutime and cstime come after the name, which may hold any character.
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def processes(unit: str) -> list[int]:
    """Return the ids of a unit's processes."""
    group = show(unit, "ControlGroup").get("ControlGroup", "")
    # In hybrid mode (cgroup v1 and v2), systemd's hierarchy is in its own folder.
    files = (
        Path(f"/sys/fs/cgroup{hierarchy}{group}/cgroup.procs") for hierarchy in ("", "/systemd")
    )
    path = next((file for file in files if group and file.exists()), None)
    return [int(line) for line in path.read_text().split()] if path else []


def _run(*command: str, timeout: float | None = QUERY) -> subprocess.CompletedProcess[str]:
    """Run a command. Raises ReleaseError if it takes longer than `timeout` seconds."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{' '.join(command[:4])} took more than {timeout:.0f} s.") from None
