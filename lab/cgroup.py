"""Control groups, v1 and v2: a host's limits, and the list of all its processes."""

import os
import signal
import time
from pathlib import Path

from lab.errors import LabError
from lab.layout import Lab

CONTROLLERS = {"cpu", "cpuset", "memory", "pids"}  # what the lab and the guest's units limit


def hierarchies() -> list[Path]:
    """Mount points: one with cgroup v2 alone, one for each controller with v1."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(m[1]) for m in mounts if m[2] in {"cgroup", "cgroup2"}]


def create(lab: Lab, name: str, *, memory: int | None = None, cpus: str | None = None) -> None:
    """Create NAME/guest (limits: bytes, a list of CPUs) and NAME/supervisor (no limits)."""
    for top in hierarchies():
        _create(top, lab.cgroup, name, "supervisor")
        _limit(_create(top, lab.cgroup, name, "guest"), memory, cpus)


def enter(lab: Lab, *parts: str) -> None:
    """Move this process into a group below the lab's; its children start there."""
    for top in hierarchies():
        (_create(top, lab.cgroup, *parts) / "cgroup.procs").write_text(str(os.getpid()))


def exists(lab: Lab) -> bool:
    return any((top / lab.cgroup).exists() for top in hierarchies())


def processes(lab: Lab, name: str = "") -> set[int]:
    """Every process of a host, or of the whole lab."""
    found: set[int] = set()
    for top in hierarchies():
        for path, _, _ in os.walk(top / lab.cgroup / name):
            try:
                found |= {int(pid) for pid in Path(path, "cgroup.procs").read_text().split()}
            except OSError:  # the group is gone, or threaded: its parent lists them
                continue
    return found


def kill(lab: Lab, name: str = "", within: float = 20.0) -> None:
    """Kill every process of a host and wait until all have exited."""
    deadline = time.monotonic() + within
    while alive := processes(lab, name):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise LabError(f"Processes {sorted(alive)} of host {name!r} did not exit on SIGKILL.")
        time.sleep(0.01)


def remove(lab: Lab, name: str = "") -> None:
    """Remove a host's groups, including the guest's own."""
    for top in hierarchies():
        remove_tree(top / lab.cgroup / name)


def remove_tree(folder: Path, within: float = 5.0) -> None:
    """Remove a group without processes; one that was just emptied stays busy for a moment."""
    deadline = time.monotonic() + within
    while folder.is_dir():
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)


def _create(top: Path, *parts: str) -> Path:
    here = top
    for part in parts:
        _delegate_controllers(here)
        here = here / part
        here.mkdir(exist_ok=True)
        _fill_cpuset(here)
    return here


def _delegate_controllers(here: Path) -> None:
    for controller in CONTROLLERS & {*_read(here / "cgroup.controllers").split()}:
        try:
            (here / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:  # this level may not delegate it
            continue


def _fill_cpuset(here: Path) -> None:
    # A new v1 group has no CPU and no memory node, and no process may enter it.
    for name in ("cpuset.mems", "cpuset.cpus"):
        v1 = (here / name).exists() and not (here / "cgroup.controllers").exists()
        if v1 and not _read(here / name).strip():
            (here / name).write_text(_read(here.parent / name))


def _limit(folder: Path, memory: int | None, cpus: str | None) -> None:
    files = {
        "memory.max": memory,
        "memory.limit_in_bytes": memory,
        "memory.swap.max": 0 if memory else None,
        "cpuset.cpus": cpus,
    }
    for name, value in files.items():
        if value is not None and (folder / name).exists():
            (folder / name).write_text(str(value))


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
