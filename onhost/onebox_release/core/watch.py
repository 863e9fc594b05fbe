"""Whether a release that just went live does worse than the one before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# A line of the access log: the status, and the upstream's, "-" where nginx asked no upstream. Logs
# of an older onebox do not have the latter.
ANSWER = re.compile(rb'" (\d{3}) \d+ "[^"]*" "[^"]*"(?: "([^"]*)")?')
BEFORE = 256 * 1024  # bytes of the log that tell how it was before: some 2,000 requests
PART = 1024 * 1024  # bytes that are read at a time
# So few errors, or so small a share of all answers, happen on any day.
ERRORS, SHARE, TIMES = 5, 0.05, 3
MOST = 0.5  # however bad it was before: who makes the old release fail must not hide the new one's


@dataclass(frozen=True)
class Answers:
    """How many requests were answered, and how many of them with 500 or above."""

    total: int
    errors: int

    @property
    def share(self) -> float:
        """Return the errors' share of all answers, 0 to 1."""
        return self.errors / self.total if self.total else 0.0

    def is_worse_than(self, before: Answers) -> bool:
        """Tell whether the error rate has jumped."""
        usual = min(MOST, TIMES * before.share)
        return self.errors >= ERRORS and self.share > max(SHARE, usual)


def count(lines: Iterable[bytes]) -> Answers:
    """Return the answers that lines of nginx's access log report.

    What nginx answered without the app is not counted: a client can have any number of 501.
    """
    matches = (match for line in lines if (match := ANSWER.search(line)))
    found = [int(match[1]) for match in matches if match[2] != b"-"]
    return Answers(len(found), sum(status >= 500 for status in found))


@dataclass
class _Position:
    """How far a file has been read; its inode finds it under the name that a rotation gives it."""

    inode: int
    offset: int


class AccessLog:
    """nginx's log of an app, from now on: each look reads on from where the last one ended, over
    rotations too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: list[_Position] = []  # the file before the last rotation, and the one now
        self._since = Answers(0, 0)
        size = 0
        if (state := _state(path)) is not None:
            size = state.st_size
            self._read.append(_Position(state.st_ino, size))
        self._before = count([*self._rotated(BEFORE - size), *_tail(path, size, BEFORE)])

    def before(self) -> Answers:
        """Return the answers that stood there when this object was made."""
        return self._before

    def since(self) -> Answers:
        """Return the answers that were added since this object was made."""
        state = _state(self.path)
        if state and (not self._read or self._read[-1].inode != state.st_ino):
            self._read = [*self._read[-1:], _Position(state.st_ino, 0)]
        # nginx writes to the earlier one until it has opened the new one.
        for position in self._read:
            for lines in self._on(position):
                found = count(lines)
                self._since = Answers(
                    self._since.total + found.total, self._since.errors + found.errors
                )
        return self._since

    def _rotated(self, size: int) -> list[bytes]:
        """Return the last lines of the file before this one, if there is room for them."""
        earlier = self.path.with_name(f"{self.path.name}.1")
        state = _state(earlier) if size > 0 else None
        return _tail(earlier, state.st_size, size) if state else []

    def _on(self, position: _Position) -> Iterator[list[bytes]]:
        """Yield the whole lines that a file has beyond a position, which moves behind them."""
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
                if not whole:  # nginx is writing it
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
    """Return the lines in the last bytes before `end`; the first one may be a half."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, end - size))
            return file.read(min(size, end)).splitlines()
    except FileNotFoundError:
        return []
