"""Check that the server has room for one more release beside the live one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from onebox_release.app import App
from onebox_release.errors import RefusedError
from onebox_release.host import postgresql, systemd

MIB = 1024 * 1024
SPARE = 100 * MIB  # bytes of disk that stay free for logs and the database
# Size of an environment if the lock file has no sizes: FastAPI, SQLAlchemy and asyncpg compiled
# took 92 MiB and 3,100 files; three times as much.
ENVIRONMENT, ENVIRONMENT_FILES = 300 * MIB, 10_000
# Bytes on disk per byte of wheel: uv's cache, and the environment with bytecode. Measured: FastAPI,
# SQLAlchemy and asyncpg 10.1, Django and psycopg 9.9, SciPy and sklearn 8.6, Polars and PyArrow
# 6.6, OpenCV 5.9.
UNPACKED = 10
AVERAGE = 32 * 1024  # average bytes of a file in an environment; 30,000 in the sample app's
ADVICE = "Free some, or keep fewer releases (`keep_releases`)."
FILES = 2_000  # inodes that stay free
LOW = 0.10  # share of disk or memory left, below which it is a problem
# Below this share of available memory the watch is cut to SHORT_WATCH.
SCARCE = 0.15
SHORT_WATCH = 10  # seconds


def check_disk(
    app: App,
    code: int = 0,
    entries: int = 0,
    *,
    environment: int = 0,
    dump: bool = False,
) -> None:
    """Raise RefusedError unless the disk has room for `code` bytes and `entries` files of code, for
    `environment` bytes of packages, and for a database dump (at most the database's size)."""
    files = entries + (max(ENVIRONMENT_FILES, environment // AVERAGE) if environment else 0)
    _check(app.home, code + environment, files, "a release", ADVICE)
    if dump:
        _check(_existing_parent(app.dumps), _database(app), 0, "a dump of the database", ADVICE)


def check_copy(app: App, size: int, *, dump: bool) -> None:
    """Raise RefusedError unless the disk has room for a final backup: `size` bytes of files, and a
    dump of the database."""
    size += _database(app) if dump else 0
    advice = "Free some, or remove the app without a backup (`--no-dump`)."
    _check(_existing_parent(app.copies), size, 0, "a final backup", advice)


def room(folder: Path) -> int:
    """Return the bytes that users other than root can write to a folder, less SPARE."""
    disk = os.statvfs(folder)
    return max(0, disk.f_bavail * disk.f_frsize - SPARE)


def environment(wheels: int) -> int:
    """Return the estimated bytes of an environment and uv's cache of it, from its wheels' bytes."""
    return max(ENVIRONMENT, UNPACKED * wheels)


def is_full(folder: Path) -> bool:
    """Check whether a folder's file system has less than the spare bytes or inodes left."""
    disk = os.statvfs(folder)
    no_files = disk.f_files and disk.f_favail < FILES
    return bool(disk.f_bavail * disk.f_frsize < SPARE or no_files)


def used(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk. By du, because another user wrote it: du
    handles any depth and follows no links."""
    command = ["du", "-sxk", "--", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(result.stdout.split()[0]) * 1024 if result.stdout else 0


def files(folder: Path) -> int:
    """Return the number of files and folders in a folder, by du as in `used`."""
    command = ["du", "-sx", "--inodes", "--", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(result.stdout.split()[0]) if result.stdout else 0


def _check(folder: Path, size: int, files: int, what: str, advice: str) -> None:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    size += SPARE
    files += FILES
    if free < size:
        raise RefusedError(
            f"The disk has {free // MIB} MiB free; {what} needs {size // MIB}. {advice}"
        )
    if disk.f_files and disk.f_favail < files:
        raise RefusedError(
            f"The disk has {disk.f_favail} inodes free; {what} needs {files}."
            f" Find folders of many files: du --inodes -xd2 / | sort -n | tail"
        )


def _existing_parent(folder: Path) -> Path:
    """Return the nearest folder that exists, which has the same file system."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def check_memory(needed: int) -> None:
    """Raise RefusedError unless `needed` bytes of memory are available for a second release."""
    available, _ = memory()
    if available < needed:
        raise RefusedError(
            f"Two releases at once need {needed // MIB} MiB more memory; {available // MIB} MiB"
            " are available. Set fewer `workers`, add swap, or use a larger server."
        )


def check_limit(app: App, needed: int) -> None:
    """Raise RefusedError if the app's memory limit is below `needed` bytes."""
    limit = systemd.show(app.slice.name, "MemoryMax").get("MemoryMax", "")
    if limit.isdigit() and int(limit) < needed:
        raise RefusedError(
            f"Two releases of {app.name} at once need {needed // MIB} MiB of memory; its limit is"
            f" {int(limit) // MIB} MiB ({app.slice.name}). Set fewer `workers`, or a higher"
            " `resources.memory`."
        )


def memory_of(units: Iterable[str]) -> int:
    """Return the bytes of memory of units' processes; shared pages count once (PSS)."""
    return sum(_pss(process) for unit in units for process in systemd.processes(unit))


def memory() -> tuple[int, int]:
    """Return available and total memory in bytes, both including swap."""
    text = Path("/proc/meminfo").read_text()
    sizes = {
        key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    return sizes["MemAvailable"] + sizes["SwapFree"], sizes["MemTotal"] + sizes["SwapTotal"]


def watch_time(seconds: int, available: int, total: int) -> int:
    """Return how many seconds two releases may run side by side."""
    return min(seconds, SHORT_WATCH) if available < SCARCE * total else seconds


def _database(app: App) -> int:
    return int(postgresql.query(f"select pg_database_size('{app.name}')", role="postgres"))


def _pss(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
