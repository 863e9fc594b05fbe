"""What came of a run, to be read in ten seconds: here, and on the CI job's own page."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

# What a terminal obeys and doesn't show.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: some of it was written by an app."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def tell(title: str, lines: Sequence[str]) -> None:
    """Print a title and a list, in Markdown; GitHub shows what GITHUB_STEP_SUMMARY names."""
    text = "\n".join([f"## {title}", "", *(f"- {printable(line)}" for line in lines), ""])
    print(f"\n{text}", flush=True)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a") as file:
            file.write(f"{text}\n")
