"""Whether the server has room for one more release beside the live one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from . import postgresql, systemd
from .errors import RefusedError
from .places import Places

MIB = 1024 * 1024
SPARE = 100 * MIB  # disk that stays free for logs and the database
# What an environment takes if none is here yet to measure: FastAPI, SQLAlchemy and asyncpg
# compiled took 92 MiB and 3,100 files; three times as much.
ENVIRONMENT, ENVIRONMENT_FILES = 300 * MIB, 10_000
FILES = 2_000  # inodes that stay free
# Below this share of free memory the old release is not kept warm for long.
SCARCE = 0.15
SHORT_WATCH = 10  # seconds


def check_disk(
    places: Places,
    code: int = 0,
    entries: int = 0,
    *,
    environment: bool = False,
    dump: bool = False,
) -> None:
    """Raise RefusedError unless there is room: for so many bytes and entries of code, for the
    packages of a new environment, for a dump of the database (which it can't exceed)."""
    size = code + SPARE + (ENVIRONMENT if environment else 0) + (_database(places) if dump else 0)
    files = FILES + entries + (ENVIRONMENT_FILES if environment else 0)
    disk = os.statvfs(places.home)
    free = disk.f_bavail * disk.f_frsize
    if free < size:
        raise RefusedError(
            f"The disk has {free // MIB} MiB free, a release needs {size // MIB}."
            " Free some, or keep fewer releases (`keep_releases`)."
        )
    if disk.f_files and disk.f_favail < files:
        raise RefusedError(
            f"The disk has {disk.f_favail} inodes free, a release needs {files}."
            f" Look for many small files: du --inodes -xd2 / | sort -n | tail"
        )


def check_memory(needed: int) -> None:
    """Raise RefusedError unless so many bytes are there for a second release."""
    available, _ = memory()
    if available < needed:
        raise RefusedError(
            f"Two releases at once need {needed // MIB} MiB more memory, {available // MIB} MiB"
            " are there. Set fewer `workers`, add swap, or take a larger server."
        )


def memory_of(units: Iterable[str]) -> int:
    """Return the bytes that units' processes take, what they share counted once (PSS)."""
    return sum(_pss(process) for unit in units for process in systemd.processes(unit))


def memory() -> tuple[int, int]:
    """Return available and total memory in bytes, swap counted as both."""
    text = Path("/proc/meminfo").read_text()
    sizes = {
        key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    return sizes["MemAvailable"] + sizes["SwapFree"], sizes["MemTotal"] + sizes["SwapTotal"]


def watch_time(wanted: int, available: int, total: int) -> int:
    """Return how many seconds two releases may stay side by side."""
    return min(wanted, SHORT_WATCH) if available < SCARCE * total else wanted


def _database(places: Places) -> int:
    return int(postgresql.query(f"select pg_database_size('{places.app}')", role="postgres"))


def _pss(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it ended meanwhile
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
