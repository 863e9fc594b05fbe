"""systemd, as far as releases need it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from onebox_release.errors import ReleaseError
from onebox_release.report import log

QUERY = 60  # seconds for an answer of systemd or the journal
CHANGE = 3600  # seconds for a start or stop; units have bounds of their own, far below


def systemctl(*arguments: str, within: float | None = CHANGE) -> None:
    """Run systemctl. Raises ReleaseError with what it said if it fails, or takes longer than
    `within` seconds."""
    result = _run("systemctl", *arguments, within=within)
    if result.returncode:
        raise ReleaseError(f"systemctl {' '.join(arguments)}: {result.stderr.strip()}")


def show(unit: str, *properties: str) -> dict[str, str]:
    """Return a unit's properties; an unknown unit has them too, as systemd's defaults.

    A time is @ and the seconds of the epoch.
    """
    options = ("--timestamp=unix", "-p", ",".join(properties))
    output = _run("systemctl", "show", *options, unit).stdout
    return dict(line.split("=", 1) for line in output.splitlines())


def releases_up(app: str, processes: list[str]) -> list[str]:
    """Return the releases of an app that have a process, a socket or a target up."""
    units = [f"{app}@*.target", f"{app}-web@*.socket"]
    units += [f"{app}-{process}@*.service" for process in ("web", *processes)]
    output = _run("systemctl", "list-units", "--plain", "--no-legend", "--all", *units).stdout
    states = (line.split()[:3] for line in output.splitlines())
    names = {name for name, _, active in states if active not in {"inactive", "failed"}}
    return sorted({name.partition("@")[2].rpartition(".")[0] for name in names})


def units(*filters: str) -> list[str]:
    """Return the names of the units that systemctl's filters and patterns choose."""
    listing = ("list-units", "--plain", "--no-legend", "--all", *filters)
    return [line.split()[0] for line in _run("systemctl", *listing).stdout.splitlines()]


def run_checks() -> None:
    """Have the server look at itself now, not at its next round; who can't be told, isn't."""
    _run("systemctl", "start", "--no-block", "onebox-watch.service")


def reset(unit: str) -> None:
    """Forget that a unit failed, where that was told otherwise."""
    _run("systemctl", "reset-failed", unit)


def wait_until_inactive(pattern: str, seconds: float | None = None) -> None:
    """Wait for units to end by themselves: half a migration must not get company.

    Raises ReleaseError where one is still up after that many seconds; None waits as long as it
    takes.
    """
    listing = ("list-units", "--plain", "--no-legend", "--state=activating,active,deactivating")
    told, start = False, time.monotonic()
    while units := _run("systemctl", *listing, pattern).stdout.split():
        if seconds is not None and time.monotonic() - start > seconds:
            raise ReleaseError(
                f"{units[0]}, which an earlier deploy started, is still running after"
                f" {seconds:.0f} s. See what it does: journalctl -u {units[0]};"
                f" stop it: systemctl stop {units[0]}"
            )
        if not told:
            log(f"Waiting for {units[0]}, which an earlier deploy left")
            told = True
        time.sleep(0.5)


def is_active(unit: str) -> bool:
    """Tell whether a unit is up, or on its way up or down."""
    return show(unit, "ActiveState").get("ActiveState") not in {"inactive", "failed", None}


def cursor() -> str:
    """Return where the journal ends now; nothing where it is empty."""
    output = _run("journalctl", "--quiet", "-n", "1", "-o", "json", "--no-pager").stdout
    return str(json.loads(output)["__CURSOR"]) if output.strip() else ""


def journal(unit: str, lines: int = 400, after: str = "") -> str:
    """Return the last lines of a unit without time stamps: those after a cursor, or else those of
    its last start. What it wrote before is about another time."""
    options = ("-n", str(lines), "-o", "cat", "--no-pager", "--quiet")
    if after:
        return _run("journalctl", "-u", unit, f"--after-cursor={after}", *options).stdout
    invocation = show(unit, "InvocationID").get("InvocationID")
    if not invocation:
        return _run("journalctl", "-u", unit, *options).stdout
    # The first is what it wrote, the other what systemd writes of it.
    own, of = f"_SYSTEMD_INVOCATION_ID={invocation}", f"INVOCATION_ID={invocation}"
    return _run("journalctl", own, "+", of, *options).stdout


def cpu_time(unit: str) -> float:
    """Return the seconds of CPU that a unit's processes and their ended children have used.

    Of /proc (man 5 proc): the control group's own count needs accounting to be on.
    """
    ticks = 0
    for process in processes(unit):
        with suppress(OSError, IndexError, ValueError):
            stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
            # utime, stime, cutime and cstime, behind a name that may hold anything.
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def processes(unit: str) -> list[int]:
    """Return the ids of a unit's processes."""
    group = show(unit, "ControlGroup").get("ControlGroup", "")
    # Where the kernel has both versions of control groups, systemd's own has a folder of its own.
    files = (Path(f"/sys/fs/cgroup{place}{group}/cgroup.procs") for place in ("", "/systemd"))
    path = next((file for file in files if group and file.exists()), None)
    return [int(line) for line in path.read_text().split()] if path else []


def _run(*command: str, within: float | None = QUERY) -> subprocess.CompletedProcess[str]:
    """Run a command. Raises ReleaseError where it takes longer than `within` seconds."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=within
        )
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{' '.join(command[:4])} took more than {within:.0f} s.") from None
