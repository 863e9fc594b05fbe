"""What an unprivileged user made becomes root's, if there is nothing in it but plain files.

By then no process of that user is left, so nothing changes while it is checked. Still nothing is
opened by a path of more than one part, and no link is followed.
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
class Taken:
    """How much was handed over."""

    bytes: int = 0
    files: int = 0


def take_over(folder: Path, interpreter: str) -> Taken:
    """Make all that is in a folder root's, readable by everybody who gets into it.

    A link may lead to the interpreter, or to what is in the folder. Raises ReleaseError, which
    names what is in the way, where there is anything but files, folders and such links.
    """
    taken = Taken()
    top = os.open(folder, OPEN | os.O_DIRECTORY)
    try:
        device = os.fstat(top).st_dev
        _take(top, 0o755)
        _walk(top, device, interpreter, taken)
    finally:
        os.close(top)
    return taken


def _walk(top: int, device: int, interpreter: str, taken: Taken) -> None:
    rest: list[tuple[str, ...]] = [()]
    while rest:
        path = rest.pop()
        with _opened(top, path) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - it has no path
                whole = (*path, name)
                if CONTROL.search(name) or len(whole) > MOST_DEEP:
                    raise _refused(whole, "has a name that no package needs")
                state = os.lstat(name, dir_fd=folder)
                _count(taken, state, whole)
                if stat.S_ISLNK(state.st_mode):
                    _link(folder, name, whole, interpreter)
                elif state.st_dev != device:
                    raise _refused(whole, "is on another file system")
                elif stat.S_ISDIR(state.st_mode):
                    with _opened(folder, (name,)) as below:
                        _take(below, 0o755)
                    rest.append(whole)
                elif stat.S_ISREG(state.st_mode):
                    _file(folder, name, state, whole)
                else:
                    raise _refused(whole, "is not a file, folder or link")


def _count(taken: Taken, state: os.stat_result, path: tuple[str, ...]) -> None:
    taken.bytes += max(state.st_size, state.st_blocks * 512)
    taken.files += 1
    if taken.bytes > MOST_BYTES or taken.files > MOST_FILES:
        raise _refused(
            path, f"is one too many: an environment has at most {MOST_BYTES >> 30} GiB"
            f" and {MOST_FILES} files"
        )  # fmt: skip


def _file(folder: int, name: str, state: os.stat_result, path: tuple[str, ...]) -> None:
    if state.st_nlink != 1:
        raise _refused(path, "is linked from elsewhere")
    if state.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise _refused(path, "would run as another user")
    file = os.open(name, OPEN, dir_fd=folder)
    try:
        if os.fstat(file).st_ino != state.st_ino:
            raise _refused(path, "changed meanwhile")
        _take(file, 0o755 if state.st_mode & 0o111 else 0o644)
    finally:
        os.close(file)


def _link(folder: int, name: str, path: tuple[str, ...], interpreter: str) -> None:
    target = os.readlink(name, dir_fd=folder)
    if target != interpreter:
        # By its words alone, as nothing else is a link to follow on the way: no "..", no root.
        parts = target.split("/")
        if CONTROL.search(target) or {"", ".", ".."} & set(parts):
            raise _refused(path, "leads out of the environment")
    os.chown(name, 0, 0, dir_fd=folder, follow_symlinks=False)


def _take(file: int, mode: int) -> None:
    """Make an open file root's: its rights are its mode alone, no list of others."""
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
    """Open a folder part by part."""
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
    told = CONTROL.sub("?", "/".join(path))[:200]
    return ReleaseError(f"The packages make an environment in which {told} {why}.")
