"""Output for people: within 80 columns, coloured only on a terminal."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

WIDTH = 80
GREEN, YELLOW, RED = "32", "33", "31"

# Control characters, and marks that change the direction of text.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return a text with control characters escaped, so that an app cannot control a terminal."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def colour(text: str, code: str) -> str:
    """Return a text in a colour if stdout is a terminal."""
    if not code or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{code}m{text}\033[0m"


def rows(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Return names and values, one pair a line; the third item is the colour. Long values wrap."""
    lines = []
    for name, value, code in pairs:
        wrapped = textwrap.wrap(printable(value), WIDTH - 14) or [""]
        lines += [f"{name if n == 0 else '':13} {colour(t, code)}" for n, t in enumerate(wrapped)]
    return "\n".join(line.rstrip() for line in lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return rows with aligned columns."""
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def when(at: str) -> str:
    """Return an ISO time in UTC, to the minute."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M}"


def size(count: int) -> str:
    """Return a number of bytes in MiB or GiB."""
    mib = count / 2**20
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"
