"""Transfer an unprivileged user's files to root, if they are only regular files and safe links.

No process of that user is left by then, so nothing changes during the check. Still, every open uses
a path of one part, and no link is followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onebox_release.errors import ReleaseError

# PyTorch with CUDA takes 7 GB and 30,000 files; three times and ten times as much.
MOST_BYTES, MOST_FILES = 20 << 30, 300_000
# The deepest path of jupyterlab, which nests more than most, has 13 parts below site-packages.
MOST_DEEP = 48
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Total:
    """The size of what was transferred."""

    bytes: int = 0
    files: int = 0


def transfer_to_root(folder: Path, interpreter: str) -> Total:
    """Make root the owner of everything in a folder, readable by all who can enter it.

    A link may point to the interpreter, or into the folder. Raises ReleaseError, naming the path,
    for anything but files, folders and such links.
    """
    total = Total()
    top = os.open(folder, OPEN | os.O_DIRECTORY)
    try:
        device = os.fstat(top).st_dev
        _make_roots(top, 0o755)
        _walk(top, device, interpreter, total)
    finally:
        os.close(top)
    return total


def _walk(top: int, device: int, interpreter: str, total: Total) -> None:
    rest: list[tuple[str, ...]] = [()]
    while rest:
        path = rest.pop()
        with _opened(top, path) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - it has no path
                whole = (*path, name)
                if CONTROL.search(name) or len(whole) > MOST_DEEP:
                    raise _refused(whole, "has an invalid or too long path")
                state = os.lstat(name, dir_fd=folder)
                _count(total, state, whole)
                if stat.S_ISLNK(state.st_mode):
                    _link(folder, name, whole, interpreter)
                elif state.st_dev != device:
                    raise _refused(whole, "is on another file system")
                elif stat.S_ISDIR(state.st_mode):
                    with _opened(folder, (name,)) as below:
                        _make_roots(below, 0o755)
                    rest.append(whole)
                elif stat.S_ISREG(state.st_mode):
                    _file(folder, name, state, whole)
                else:
                    raise _refused(whole, "is not a file, folder or link")


def _count(total: Total, state: os.stat_result, path: tuple[str, ...]) -> None:
    total.bytes += max(state.st_size, state.st_blocks * 512)
    total.files += 1
    if total.bytes > MOST_BYTES or total.files > MOST_FILES:
        raise _refused(
            path, f"exceeds the limit of an environment: {MOST_BYTES >> 30} GiB"
            f" and {MOST_FILES} files"
        )  # fmt: skip


def _file(folder: int, name: str, state: os.stat_result, path: tuple[str, ...]) -> None:
    if state.st_nlink != 1:
        raise _refused(path, "has more than one hard link")
    if state.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise _refused(path, "has a setuid or setgid bit")
    file = os.open(name, OPEN, dir_fd=folder)
    try:
        if os.fstat(file).st_ino != state.st_ino:
            raise _refused(path, "changed during the check")
        _make_roots(file, 0o755 if state.st_mode & 0o111 else 0o644)
    finally:
        os.close(file)


def _link(folder: int, name: str, path: tuple[str, ...], interpreter: str) -> None:
    target = os.readlink(name, dir_fd=folder)
    if target != interpreter:
        # Checked as text, which is enough as no other link is on its path: relative, without "..".
        parts = target.split("/")
        if CONTROL.search(target) or {"", ".", ".."} & set(parts):
            raise _refused(path, "points out of the environment")
    os.chown(name, 0, 0, dir_fd=folder, follow_symlinks=False)


def _make_roots(file: int, mode: int) -> None:
    """Make an open file root's, with this mode and without ACLs or other attributes."""
    os.fchown(file, 0, 0)
    for name in _attributes(file):
        os.removexattr(file, name)
    os.fchmod(file, mode)


def _attributes(file: int) -> list[str]:
    try:
        return [name for name in os.listxattr(file) if name != "security.selinux"]
    except OSError:  # the file system has none
        return []


@contextmanager
def _opened(top: int, path: tuple[str, ...]) -> Iterator[int]:
    """Open a folder, one part of its path at a time."""
    current = os.dup(top)
    try:
        for part in path:
            below = os.open(part, OPEN | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _refused(path: tuple[str, ...], why: str) -> ReleaseError:
    shown = CONTROL.sub("?", "/".join(path))[:200]
    return ReleaseError(f"The virtual environment is not accepted: {shown} {why}.")
