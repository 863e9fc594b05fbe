"""Processes identified by PID and start time, because PIDs are reused."""

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process; `started` is in clock ticks after boot (field 22 of /proc/PID/stat)."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """When a process started; None if there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def find(pid: int) -> Process | None:
    started = start_time(pid)
    return None if started is None else Process(pid, started)


def myself() -> Process:
    found = find(os.getpid())
    assert found is not None  # noqa: S101 - a running process has an entry in /proc
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def leader(nspawn: int, within: float = 0.0) -> int | None:
    """The guest's PID 1 below a systemd-nspawn; wait for it up to `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = next((child for child in children(nspawn) if _is_systemd(child)), None)
        if found is not None or time.monotonic() > deadline or start_time(nspawn) is None:
            return found
        time.sleep(0.01)


def _is_systemd(pid: int) -> bool:
    # PID 1 of a namespace below ours, after systemd-nspawn has executed systemd.
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = dict(line.split(":", 1) for line in status)
    numbers = fields.get("NSpid", "").split()
    return len(numbers) > 1 and numbers[-1] == "1" and fields["Name"].strip() == "systemd"
