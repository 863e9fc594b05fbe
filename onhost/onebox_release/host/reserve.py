"""The disk's reserved blocks, for root and PostgreSQL only.

ext4 reserves blocks for root and one group, here PostgreSQL's. If an app, nginx's workers or a
build fill the disk, they get an error, while PostgreSQL can still write its log (WAL): without that
it stops and cannot start again.
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
    """A mounted file system."""

    device: str
    """Its device number, as in "8:1"."""
    path: str
    kind: str
    options: str
    """Mount options, then those of the file system."""


def mount_of(path: Path, mounts: str) -> Mount:
    """Return the mount that a path is on, from the text of /proc/self/mountinfo."""
    found = Mount("", "/", "", "")
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        _, _, device, _, at, options, *_ = left.split()
        kind, _, more = right.split(maxsplit=2)
        at = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), at)
        if path.is_relative_to(at) and len(at) >= len(found.path):
            found = Mount(device, at, kind, f"{options},{more}")
    return found


def is_applied() -> bool:
    """Check whether the reserve is set; also true if the file system has none."""
    mount = mount_of(DATA, MOUNTS.read_text())
    return mount.kind != "ext4" or _has_group(mount, grp.getgrnam(GROUP).gr_gid)


def apply() -> None:
    """Reserve blocks for PostgreSQL on the file system of its data.

    The size is stored in the file system; the group lasts until the next mount.
    """
    mount = mount_of(DATA, MOUNTS.read_text())
    if mount.kind != "ext4":
        log(f"{mount.path} is {mount.kind}, which has no reserved blocks: monitor its free space")
        return
    _enlarge(mount)
    group = grp.getgrnam(GROUP).gr_gid
    if not _has_group(mount, group):
        _run("mount", "-o", f"remount,resgid={group}", mount.path)


def _has_group(mount: Mount, group: int) -> bool:
    return f"resgid={group}" in mount.options.split(",")


def _enlarge(mount: Mount) -> None:
    """Raise the reserve of a file system that was created with a small one or none."""
    disk = os.statvfs(mount.path)
    needed = int(min(MOST / disk.f_frsize, SHARE * disk.f_blocks))
    # On a full disk, f_bavail is 0 and hides the size of the reserve.
    if disk.f_bavail > 0 and disk.f_bfree - disk.f_bavail < needed:
        _run("tune2fs", "-r", str(needed), f"/dev/block/{mount.device}")


def _run(*command: str) -> None:
    """Run a command and log its error only: a container may not allow it."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        log(f"{' '.join(command)}: {result.stderr.strip()}")
