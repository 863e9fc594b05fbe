"""Compare a new live release's error rate with the previous one's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# A line of the access log: nginx's status, and the upstream's status, "-" if nginx sent no request
# upstream. Logs of an older onebox lack the latter.
ANSWER = re.compile(rb'" (\d{3}) \d+ "[^"]*" "[^"]*"(?: "([^"]*)")?')
BEFORE = 256 * 1024  # bytes of the log before the switch to compare with: some 2,000 requests
PART = 1024 * 1024  # bytes per read
# Fewer errors, or a smaller share, are normal; TIMES is the factor to the share before.
ERRORS, SHARE, TIMES = 5, 0.05, 3
MOST = 0.5  # limit of the share before: a failing old release must not hide the new one's errors


@dataclass(frozen=True)
class Answers:
    """The number of responses, and of those with status 500 or above."""

    total: int
    errors: int

    @property
    def share(self) -> float:
        """Return the share of errors, 0 to 1."""
        return self.errors / self.total if self.total else 0.0

    def is_worse_than(self, before: Answers) -> bool:
        """Check whether the error rate has jumped."""
        usual = min(MOST, TIMES * before.share)
        return self.errors >= ERRORS and self.share > max(SHARE, usual)


def count(lines: Iterable[bytes]) -> Answers:
    """Count the responses in lines of nginx's access log.

    Responses that nginx gave without the app do not count: clients can cause any number of 501.
    """
    matches = (match for line in lines if (match := ANSWER.search(line)))
    found = [int(match[1]) for match in matches if match[2] != b"-"]
    return Answers(len(found), sum(status >= 500 for status in found))


@dataclass
class _Position:
    """How far a file has been read, by inode, as a rotation renames it."""

    inode: int
    offset: int


class AccessLog:
    """nginx's access log of an app from now on, read incrementally and across rotations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: list[_Position] = []  # the rotated file, and the current one
        self._since = Answers(0, 0)
        size = 0
        if (state := _state(path)) is not None:
            size = state.st_size
            self._read.append(_Position(state.st_ino, size))
        self._before = count([*self._rotated(BEFORE - size), *_tail(path, size, BEFORE)])

    def before(self) -> Answers:
        """Return the responses logged before this object was created."""
        return self._before

    def since(self) -> Answers:
        """Return the responses logged since this object was created."""
        state = _state(self.path)
        if state and (not self._read or self._read[-1].inode != state.st_ino):
            self._read = [*self._read[-1:], _Position(state.st_ino, 0)]
        # nginx writes to the rotated file until it has opened the new one.
        for position in self._read:
            for lines in self._on(position):
                found = count(lines)
                self._since = Answers(
                    self._since.total + found.total, self._since.errors + found.errors
                )
        return self._since

    def _rotated(self, size: int) -> list[bytes]:
        """Return the last lines of the rotated file, up to `size` bytes."""
        earlier = self.path.with_name(f"{self.path.name}.1")
        state = _state(earlier) if size > 0 else None
        return _tail(earlier, state.st_size, size) if state else []

    def _on(self, position: _Position) -> Iterator[list[bytes]]:
        """Yield a file's complete lines after a position, and advance the position."""
        path = self._path(position.inode)
        with suppress(FileNotFoundError), (path or self.path).open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_ino != position.inode:
                return
            if state.st_size < position.offset:  # emptied in place
                position.offset = 0
            file.seek(position.offset)
            while position.offset < state.st_size and (part := file.read(PART)):
                whole = part.rfind(b"\n") + 1 or (len(part) if len(part) == PART else 0)
                if not whole:  # an incomplete line: nginx is writing it
                    return
                position.offset += whole
                file.seek(position.offset)
                yield part[:whole].splitlines()

    def _path(self, inode: int) -> Path | None:
        for path in (self.path, *self.path.parent.glob(f"{self.path.name}.*")):
            if (state := _state(path)) and state.st_ino == inode:
                return path
        return None


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _tail(path: Path, end: int, size: int) -> list[bytes]:
    """Return the lines in the last `size` bytes before `end`; the first may be incomplete."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, end - size))
            return file.read(min(size, end)).splitlines()
    except FileNotFoundError:
        return []
