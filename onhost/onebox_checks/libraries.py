"""Which units still run on files that an update has replaced: a fix is in use only after a restart.

Only root may read the memory maps of others, so root writes down what is found before each round,
and the round itself runs with no more rights than before.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from onebox_release.host import durable

FILE = Path("/run/onebox/libraries.json")
PROC = Path("/proc")
# An executable mapping of the system's own files; the kernel marks those that are gone.
REPLACED = re.compile(r"^\S+ ..x. .*? (/(?:usr|lib|lib64|bin|sbin)/.+) \(deleted\)$", re.MULTILINE)
UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?:/|$)", re.MULTILINE)
PERSONS = re.compile(r"(?:user@|session-)")  # they end by themselves, when their user logs out


def stale(proc: Path = PROC) -> dict[str, list[str]]:
    """Return the replaced files that each unit's processes still run on, by unit."""
    found: dict[str, set[str]] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            maps = (folder / "maps").read_text(errors="replace")
            files = {match[1] for match in REPLACED.finditer(maps)}
            unit = _unit((folder / "cgroup").read_text()) if files else ""
        except OSError:  # it ended meanwhile
            continue
        if unit and not PERSONS.match(unit):
            found.setdefault(unit, set()).update(files)
    return {unit: sorted(files) for unit, files in sorted(found.items())}


def write(file: Path = FILE) -> None:
    """Write down what is stale, for the round."""
    file.parent.mkdir(exist_ok=True)
    durable.write(file, json.dumps(stale()))


def read(file: Path = FILE) -> dict[str, list[str]]:
    """Return what was written down; nothing where nothing was yet."""
    try:
        found: dict[str, list[str]] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _unit(groups: str) -> str:
    """Return the unit of a process, out of its /proc/PID/cgroup."""
    lines = [line.split(":", 2) for line in groups.splitlines()]
    path = next((p for _, kind, p in lines if kind in {"", "name=systemd"} and p != "/"), "")
    units = UNIT.findall(path)
    return units[0] if units else ""
