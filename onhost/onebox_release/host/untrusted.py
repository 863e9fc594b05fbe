"""Root's handling of files and folders that other users can write to.

Their owner may put a FIFO, a device, a link or a sparse terabyte where a file is expected, and swap
them at any moment.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onebox_release.errors import ReleaseError

MIB = 1024 * 1024
DEEPEST = 100  # levels of folders; a path of 4,096 bytes leaves 40 bytes for each
MEMORY = 1 << 30  # bytes of address space


def read(path: str | Path, limit: int = MIB, *, links: bool = False) -> bytes:
    """Return up to `limit` bytes of a regular file, without blocking.

    Raises OSError for anything else: a link (unless `links`), a FIFO, a device.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if links else flags | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def delete(path: Path) -> None:
    """Delete a file or folder of any depth, without following links.

    Uses rm, because shutil.rmtree fails below a thousand levels. Raises ReleaseError if it fails.
    """
    _run("rm", "-rf", "--", str(path))


def archive(file: Path, *paths: Path, root: Path, most: int) -> bool:
    """Write an archive of `paths` for root only, at most `most` bytes; return whether it is
    complete: folders below DEEPEST levels are left out.

    Uses tar, because it opens no FIFO, follows no links and skips the holes of sparse files, which
    tarfile reads as bytes. tar writes and buffers each file's whole path: 2,000 levels of folders,
    144 MB on the disk, made 7 GB. Raises ReleaseError if it fails.
    """
    names = [str(path.relative_to(root)) for path in paths]
    find = ["find", *names, "-xdev"]
    tar = ["tar", "--create", "--gzip", "--sparse", "--numeric-owner", f"--file={file}"]
    tar += ["--warning=no-file-ignored"]  # it warns of sockets
    tar += ["--null", "--no-recursion", "--verbatim-files-from", "--files-from=-"]
    limits = ["prlimit", f"--fsize={most}", f"--as={MEMORY}"]
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        with subprocess.Popen(
            [*find, "-maxdepth", str(DEEPEST), "-print0"], cwd=root, stdout=subprocess.PIPE
        ) as listing:
            _run(*tar, prefix=limits, cwd=root, stdin=listing.stdout)
    except ReleaseError:
        file.unlink()
        raise
    if listing.returncode:
        file.unlink()
        raise ReleaseError(f"find failed with exit code {listing.returncode}: {', '.join(names)}")
    deeper = [*find, "-mindepth", str(DEEPEST + 1), "-printf", "x", "-quit"]
    return not subprocess.run(deeper, cwd=root, capture_output=True, check=False).stdout


def _run(*command: str, prefix: Sequence[str] = (), **arguments: Any) -> None:
    result = subprocess.run(
        [*prefix, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
        **arguments,
    )
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ReleaseError(f"{command[0]} failed with exit code {result.returncode}: {last[0]}")
