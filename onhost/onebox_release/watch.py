"""Whether a release that just went live does worse than the one before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

STATUS = re.compile(rb'" (\d{3}) ')
BEFORE = 256 * 1024  # bytes of the log that tell how it was before: some 2,000 requests
# So few errors, or so small a share of all answers, happen on any day.
ERRORS, SHARE, TIMES = 5, 0.05, 3


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
        return self.errors >= ERRORS and self.share > max(SHARE, TIMES * before.share)


def count(lines: Iterable[bytes]) -> Answers:
    """Return the answers that lines of nginx's access log tell of."""
    found = [int(match[1]) for line in lines if (match := STATUS.search(line))]
    return Answers(len(found), sum(status >= 500 for status in found))


class AccessLog:
    """nginx's log of an app, from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start = self._size()

    def before(self) -> Answers:
        """Return the answers that stood there when this object was made."""
        return count(self._lines(max(0, self.start - BEFORE), self.start))

    def since(self) -> Answers:
        """Return the answers that were added; all there are, if the log was rotated meanwhile."""
        size = self._size()
        return count(self._lines(self.start if size >= self.start else 0, size))

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _lines(self, start: int, end: int) -> list[bytes]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(start, os.SEEK_SET)
            return file.read(end - start).splitlines()
