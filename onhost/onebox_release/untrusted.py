"""Files and folders that somebody else can write to, handled by root.

Whoever writes there may put a FIFO, a device, a link or a sparse terabyte where a file is expected,
and exchange them at any moment.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from .errors import ReleaseError

MIB = 1024 * 1024


def read(path: str | Path, limit: int = MIB, *, links: bool = False) -> bytes:
    """Return a regular file's content, `limit` bytes at most; never wait for anything.

    Raises OSError where there is none: a link (unless `links`), a FIFO and a device are none.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if links else flags | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def delete(path: Path) -> None:
    """Delete a file or a folder with all that is in it, however deep, and follow no link.

    rm, because shutil.rmtree ends at a thousand levels. Raises ReleaseError where it fails.
    """
    _run("rm", "-rf", "--", str(path))


def archive(file: Path, *paths: Path, root: Path) -> None:
    """Write an archive of what is below `root`, for root alone.

    tar, because it opens no FIFO, follows no link, walks any depth and passes over the holes of
    sparse files, which tarfile reads as bytes. Raises ReleaseError where it fails.
    """
    names = [str(path.relative_to(root)) for path in paths]
    options = ["--create", "--gzip", "--sparse", "--one-file-system", "--numeric-owner"]
    quiet = "--warning=no-file-ignored"  # a socket is no data
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    _run("tar", *options, quiet, f"--file={file}", f"--directory={root}", "--", *names)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ReleaseError(f"{command[0]} failed with exit code {result.returncode}: {last[0]}")
