"""What came of a run, to be read in ten seconds: here, and on the CI job's own page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def tell(title: str, lines: Sequence[str]) -> None:
    """Print a title and a list, in Markdown; GitHub shows what GITHUB_STEP_SUMMARY names."""
    text = "\n".join([f"## {title}", "", *(f"- {line}" for line in lines), ""])
    print(f"\n{text}", flush=True)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a") as file:
            file.write(f"{text}\n")
