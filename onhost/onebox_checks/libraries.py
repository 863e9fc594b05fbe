"""Find units that run on files an update replaced: a fix takes effect only after a restart.

Only root can read other users' memory maps, so root records the result before each round, and the
round itself needs no more rights.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from onebox_release.host import durable

FILE = Path("/run/onebox/libraries.json")
PROC = Path("/proc")
# Executable mappings of system files; the kernel marks deleted ones.
REPLACED = re.compile(r"^\S+ ..x. .*? (/(?:usr|lib|lib64|bin|sbin)/.+) \(deleted\)$", re.MULTILINE)
UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?:/|$)", re.MULTILINE)
PERSONS = re.compile(r"(?:user@|session-)")  # users' sessions; they end at logout


def stale(proc: Path = PROC) -> dict[str, list[str]]:
    """Return the replaced files that each unit's processes use, by unit."""
    found: dict[str, set[str]] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            maps = (folder / "maps").read_text(errors="replace")
            files = {match[1] for match in REPLACED.finditer(maps)}
            unit = _unit((folder / "cgroup").read_text()) if files else ""
        except OSError:  # it has ended
            continue
        if unit and not PERSONS.match(unit):
            found.setdefault(unit, set()).update(files)
    return {unit: sorted(files) for unit, files in sorted(found.items())}


def write(file: Path = FILE) -> None:
    """Record the stale units for the round."""
    file.parent.mkdir(exist_ok=True)
    durable.write(file, json.dumps(stale()))


def read(file: Path = FILE) -> dict[str, list[str]]:
    """Return the recorded units; none if there is no record yet."""
    try:
        found: dict[str, list[str]] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _unit(groups: str) -> str:
    """Return the unit of a process from its /proc/PID/cgroup."""
    lines = [line.split(":", 2) for line in groups.splitlines()]
    path = next((p for _, kind, p in lines if kind in {"", "name=systemd"} and p != "/"), "")
    units = UNIT.findall(path)
    return units[0] if units else ""
