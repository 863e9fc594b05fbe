"""The disk's last space, which only root and PostgreSQL may use.

ext4 reserves blocks for root and for one group: here PostgreSQL's. An app, nginx's workers or a
build that fill the disk get an error, while PostgreSQL goes on writing its log (WAL): without that
it stops and can't start again.
"""

from __future__ import annotations

import grp
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from onebox_release.report import log

DATA = Path("/var/lib/postgresql")
GROUP = "postgres"
MOUNTS = Path("/proc/self/mountinfo")
MOST = 512 * 1024 * 1024  # bytes; ext4's own default is 5 % of the disk
SHARE = 0.05


@dataclass(frozen=True)
class Mount:
    """A file system, where it is mounted."""

    device: str
    """Its number, as in "8:1"."""
    path: str
    kind: str
    options: str
    """Those of the mount, then those of the file system."""


def mount_of(path: Path, mounts: str) -> Mount:
    """Return the mount that a path is on, out of the text of /proc/self/mountinfo."""
    found = Mount("", "/", "", "")
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        _, _, device, _, at, options, *_ = left.split()
        kind, _, more = right.split(maxsplit=2)
        at = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), at)
        if path.is_relative_to(at) and len(at) >= len(found.path):
            found = Mount(device, at, kind, f"{options},{more}")
    return found


def is_kept() -> bool:
    """Tell whether the reserve is in effect, or can't be had on this file system."""
    mount = mount_of(DATA, MOUNTS.read_text())
    return mount.kind != "ext4" or _is_for(mount, grp.getgrnam(GROUP).gr_gid)


def keep() -> None:
    """Have the file system of PostgreSQL's data keep its reserve for PostgreSQL, too.

    The size is written to the file system; the group lasts until it is mounted again.
    """
    mount = mount_of(DATA, MOUNTS.read_text())
    if mount.kind != "ext4":
        log(f"{mount.path} is {mount.kind}, which keeps no reserve: watch how full the disk is")
        return
    _enlarge(mount)
    group = grp.getgrnam(GROUP).gr_gid
    if not _is_for(mount, group):
        _run("mount", "-o", f"remount,resgid={group}", mount.path)


def _is_for(mount: Mount, group: int) -> bool:
    return f"resgid={group}" in mount.options.split(",")


def _enlarge(mount: Mount) -> None:
    """Give a file system that was made with a small reserve, or none, one that is large enough."""
    disk = os.statvfs(mount.path)
    wanted = int(min(MOST / disk.f_frsize, SHARE * disk.f_blocks))
    # What is left of free blocks for others may be less than the reserve: 0 on a full disk.
    if disk.f_bavail > 0 and disk.f_bfree - disk.f_bavail < wanted:
        _run("tune2fs", "-r", str(wanted), f"/dev/block/{mount.device}")


def _run(*command: str) -> None:
    """Run a command; what it says goes to the journal, for a container may allow less."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        log(f"{' '.join(command)}: {result.stderr.strip()}")
