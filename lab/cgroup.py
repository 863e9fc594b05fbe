"""Limits, and the sure way to find every process of a host: both hierarchies' versions."""

import os
import signal
import time
from pathlib import Path

from lab.errors import LabError
from lab.place import Lab

CONTROLLERS = {"cpu", "cpuset", "memory", "pids"}  # what limits, here and in the guest's units


def hierarchies() -> list[Path]:
    """Mount points: one where cgroup v2 rules, one for each v1 controller elsewhere."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(m[1]) for m in mounts if m[2] in {"cgroup", "cgroup2"}]


def create(lab: Lab, name: str, *, memory: int | None = None, cpus: str | None = None) -> None:
    """Make NAME/guest (the limits: bytes, a list of CPUs) and NAME/supervisor (outside them)."""
    for top in hierarchies():
        _make(top, lab.cgroup, name, "supervisor")
        _limit(_make(top, lab.cgroup, name, "guest"), memory, cpus)


def enter(lab: Lab, *parts: str) -> None:
    """Move this process into a group below the lab's; its children are born there."""
    for top in hierarchies():
        (_make(top, lab.cgroup, *parts) / "cgroup.procs").write_text(str(os.getpid()))


def exists(lab: Lab) -> bool:
    return any((top / lab.cgroup).exists() for top in hierarchies())


def processes(lab: Lab, name: str = "") -> set[int]:
    """Every process of a host, or of the whole lab."""
    found: set[int] = set()
    for top in hierarchies():
        for path, _, _ in os.walk(top / lab.cgroup / name):
            try:
                found |= {int(pid) for pid in Path(path, "cgroup.procs").read_text().split()}
            except OSError:  # it went away, or is a threaded group, whose parent lists them
                continue
    return found


def kill(lab: Lab, name: str = "", within: float = 20.0) -> None:
    """Kill every process of a host and wait until they are gone."""
    deadline = time.monotonic() + within
    while alive := processes(lab, name):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise LabError(f"Processes {sorted(alive)} of host {name!r} do not die.")
        time.sleep(0.01)


def remove(lab: Lab, name: str = "") -> None:
    """Remove a host's groups, the guest's own included."""
    for top in hierarchies():
        remove_tree(top / lab.cgroup / name)


def remove_tree(folder: Path, within: float = 5.0) -> None:
    """Remove a group without processes; a just emptied one is busy for a moment."""
    deadline = time.monotonic() + within
    while folder.is_dir():
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)


def _make(top: Path, *parts: str) -> Path:
    here = top
    for part in parts:
        _hand_on_controllers(here)
        here = here / part
        here.mkdir(exist_ok=True)
        _fill_cpuset(here)
    return here


def _hand_on_controllers(here: Path) -> None:
    for controller in CONTROLLERS & {*_read(here / "cgroup.controllers").split()}:
        try:
            (here / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:  # one that this level may not hand on
            continue


def _fill_cpuset(here: Path) -> None:
    # v1 starts a group with no CPU and no memory node, which no process may enter.
    for name in ("cpuset.mems", "cpuset.cpus"):
        v1 = (here / name).exists() and not (here / "cgroup.controllers").exists()
        if v1 and not _read(here / name).strip():
            (here / name).write_text(_read(here.parent / name))


def _limit(folder: Path, memory: int | None, cpus: str | None) -> None:
    wanted = {
        "memory.max": memory,
        "memory.limit_in_bytes": memory,
        "memory.swap.max": 0 if memory else None,
        "cpuset.cpus": cpus,
    }
    for name, value in wanted.items():
        if value is not None and (folder / name).exists():
            (folder / name).write_text(str(value))


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
