"""systemd, as far as releases need it."""

from __future__ import annotations

import subprocess

from .errors import ReleaseError


def systemctl(*arguments: str) -> None:
    """Run systemctl. Raises ReleaseError with what it said if it fails."""
    result = _run("systemctl", *arguments)
    if result.returncode:
        raise ReleaseError(f"systemctl {' '.join(arguments)}: {result.stderr.strip()}")


def show(unit: str, *properties: str) -> dict[str, str]:
    """Return a unit's properties; an unknown unit has them too, as systemd's defaults."""
    output = _run("systemctl", "show", "-p", ",".join(properties), unit).stdout
    return dict(line.split("=", 1) for line in output.splitlines())


def active_releases(app: str) -> list[str]:
    """Return the releases of an app that have a process, a socket or a target up."""
    patterns = [f"{app}@*.target", f"{app}-web@*.service", f"{app}-web@*.socket"]
    output = _run("systemctl", "list-units", "--plain", "--no-legend", "--all", *patterns).stdout
    units = (line.split()[:3] for line in output.splitlines())
    names = {name for name, _, active in units if active not in {"inactive", "failed"}}
    return sorted({name.partition("@")[2].rpartition(".")[0] for name in names})


def journal(unit: str, lines: int) -> str:
    """Return the last lines that a unit wrote, without their time stamps."""
    return _run("journalctl", "-u", unit, "-n", str(lines), "-o", "cat", "--no-pager").stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
