"""An app's archive, read as a stream by a parser that accepts only regular files.

A holder of a deploy key can write any archive. Python's tarfile parses more header types than a
release needs, and in Debian 12's version its regular expressions and recursion let a small archive
keep root busy for hours.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from onebox_release.errors import RefusedError, ReleaseError

BLOCK = 512
CHUNK = 64 * 1024
HEADER = 8 * 1024  # bytes of a header with a long name; PATH_MAX is 4096
NAME, PART, DEPTH = 1024, 255, 32  # bytes of a path, of one part of it (ext4), parts
OCTAL = re.compile(rb" *([0-7]+)[ \0]*", re.ASCII)
RECORD = re.compile(rb"([1-9][0-9]{0,4}) ", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
PLAIN, LONG_NAME, EXTENDED, GLOBAL = {b"0", b"\0"}, b"L", b"x", b"g"


@dataclass(frozen=True)
class Limits:
    """The limits of an archive."""

    size: int
    """Bytes, packed and unpacked."""
    entries: int
    """Files and their folders."""


# Limits for deploy keys. The sample app with its tests has 60 files. Django, the largest framework
# in one package, has 6,900 in 25 MiB; a built front end has hundreds. ext4 has one inode for 16
# KiB, so 655,360 on a small server's 10 GB disk: one release takes 3 % of them at most.
BY_KEY = Limits(128 << 20, 20_000)
# Limits for administrators, who are root, so that a mistake in `source` ends in a message.
BY_PERSON = Limits(4 << 30, 200_000)


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    size: int
    executable: bool
    chunks: Callable[[], Iterator[bytes]]
    """Yields the content, once, before the next member is read."""


def check(path: Path, digest: str, limits: Limits) -> None:
    """Raise RefusedError unless a file is the announced archive and within its limits."""
    try:
        _check(path, digest, limits)
    except RefusedError:
        raise
    except ReleaseError as error:
        raise RefusedError(str(error)) from error


def _check(path: Path, digest: str, limits: Limits) -> None:
    with opened(path) as file:
        total, size = hashlib.sha256(), 0
        while chunk := file.read(CHUNK):
            size = check_size(size + len(chunk), limits.size)
            total.update(chunk)
    if total.hexdigest() != digest:
        raise RefusedError("The archive does not match its announced SHA-256. Submit it again.")
    with opened(path) as file:
        for _ in members(file, limits):
            pass


@contextmanager
def opened(path: Path) -> Iterator[gzip.GzipFile]:
    """Yield the unpacked content of a file. Raises ReleaseError if it cannot be read."""
    try:
        with gzip.open(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise ReleaseError(f"Cannot read the archive: {error}.") from error


def members(file: IO[bytes] | gzip.GzipFile, limits: Limits) -> Iterator[Member]:
    """Yield the members of a tar archive: regular files with relative paths.

    Raises RefusedError if it exceeds the limits, ReleaseError if it contains anything else.
    """
    source = _Source(file, limits.size)
    files: set[str] = set()
    folders: set[str] = set()
    name = None
    while header := source.header():
        kind = header[156:157]
        size = _number(header[124:136])
        if kind in {LONG_NAME, EXTENDED, GLOBAL}:
            content = source.small(size)
            if kind == LONG_NAME:
                name = content.rstrip(b"\0")
            elif kind == EXTENDED:
                name = _extended(content) or name
            continue
        path = _path(name or _ustar_name(header))
        name = None
        if kind not in PLAIN:
            raise _not_plain(path)
        if path in files or path in folders:
            raise ReleaseError(f"The archive has {path!r} more than once.")
        files.add(path)
        parts = path.split("/")
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
        if len(files) + len(folders) > limits.entries:
            raise RefusedError(f"The archive has more than {limits.entries} files and folders.")
        if not folders.isdisjoint([path]) or any(
            "/".join(parts[:count]) in files for count in range(1, len(parts))
        ):
            raise ReleaseError(f"The archive has {path!r} as a file and as a folder.")
        source.begin(size)
        # No other mode bit: root owns these files, and setuid would run as root.
        yield Member(path, size, bool(_number(header[100:108]) & 0o100), source.chunks)
        source.skip()
    source.end()


class _Source:
    """An archive's bytes, counted."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self.file, self.most, self.count = file, most, 0
        self.left = self.padding = 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes. Raises ReleaseError if the archive ends before."""
        content = self.file.read(size)
        self.count = check_size(self.count + len(content), self.most)
        if len(content) < size:
            raise ReleaseError("The archive ends in the middle of a file.")
        return content

    def header(self) -> bytes:
        """Return the next header, or no bytes at the end."""
        header = self.read(BLOCK)
        if not header.strip(b"\0"):
            return b""
        blank = header[:148] + b" " * 8 + header[156:]
        if _number(header[148:156]) != sum(blank) or header[257:262] != b"ustar":
            raise ReleaseError("The archive has a damaged header.")
        return header

    def small(self, size: int) -> bytes:
        """Return the content of an extension header."""
        if size > HEADER:
            raise ReleaseError(f"The archive has a header of {size} bytes; the limit is {HEADER}.")
        content = self.read(size)
        self.read(-size % BLOCK)
        return content

    def begin(self, size: int) -> None:
        """Start a member's content."""
        # Fails by the claimed size, before a byte of it is read.
        check_size(self.count + size, self.most)
        self.left, self.padding = size, -size % BLOCK

    def chunks(self) -> Iterator[bytes]:
        """Yield the rest of a member's content."""
        while self.left:
            chunk = self.read(min(self.left, CHUNK))
            self.left -= len(chunk)
            yield chunk

    def skip(self) -> None:
        """Skip the rest of a member."""
        for _ in self.chunks():
            pass
        self.read(self.padding)

    def end(self) -> None:
        """Read the padding after the last member. Raises ReleaseError if it has data."""
        while chunk := self.file.read(CHUNK):
            self.count = check_size(self.count + len(chunk), self.most)
            if chunk.strip(b"\0"):
                raise ReleaseError("The archive has data after its end.")


def check_size(size: int, most: int) -> int:
    """Return a size. Raises RefusedError if it exceeds the limit."""
    if size > most:
        raise RefusedError(f"The archive is larger than {most >> 20} MiB. Nothing was changed.")
    return size


def _number(field: bytes) -> int:
    found = OCTAL.fullmatch(field)
    if not found:
        raise ReleaseError("The archive has a header with an invalid number.")
    return int(found[1], 8)


def _ustar_name(header: bytes) -> bytes:
    name, prefix = (header[a:b].partition(b"\0")[0] for a, b in ((0, 100), (345, 500)))
    return b"/".join(part for part in (prefix, name) if part)


def _extended(content: bytes) -> bytes | None:
    """Return the path in an extended header. Raises ReleaseError for sparse files and links."""
    path = None
    while content:
        found = RECORD.match(content)
        record = content[: int(found[1])] if found else b""
        if not found or len(record) < int(found[1]) or not record.endswith(b"\n"):
            raise ReleaseError("The archive has a damaged header.")
        key, _, value = record[found.end() : -1].partition(b"=")
        if key.startswith(b"GNU.sparse") or key in {b"size", b"linkpath"}:
            raise _not_plain("a sparse file" if key != b"linkpath" else "a link")
        if key == b"path":
            path = value
        content = content[len(record) :]
    return path


def _path(name: bytes) -> str:
    """Return a member's path. Raises ReleaseError if it leaves the folder or is too long."""
    path = os.fsdecode(name.removeprefix(b"./"))
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or CONTROL.search(path):
        raise _not_plain(path)
    longest = max(len(os.fsencode(part)) for part in parts)
    if len(name) > NAME or longest > PART or len(parts) > DEPTH:
        raise ReleaseError(f"The archive has a path that is too long: {path[:60]!r}...")
    return path


def _not_plain(path: str) -> ReleaseError:
    return ReleaseError(f"The archive has {path[:200]!r}, which is not a regular file.")
