"""Kept results of long measurements, and the sources that each was measured on.

A result is stale once one of its sources changes. `python -m bench.results` counts the stale ones,
`--list` names each with what changed, and `make soak` measures them again.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.dependencies import sources_of

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "bench" / "results"


@dataclass(frozen=True)
class Result:
    """A kept result; `seconds` that its measurement took, None if that is not known."""

    name: str
    measured: datetime
    seconds: float | None
    changed: tuple[str, ...]

    @property
    def days(self) -> int:
        """Return the result's age."""
        return (datetime.now(UTC) - self.measured).days


def name_of(node: str) -> str:
    """Return the result of a pytest node ID: tests/soak/test_edge.py::test_flood[12] is
    edge/flood-12."""
    path, _, test = node.partition("::")
    kind = Path(path).stem.removeprefix("test_")
    return f"{kind}/" + re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_").lower()).strip("-")


def record(name: str, took: float, /, **figures: Any) -> None:
    """Keep a result under its name, as in releases/load; `took` is in seconds."""
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(took),
        "sources": {source: digest(source) for source in sources_of(name)},
        **figures,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


def load(name: str) -> Result | None:
    """Return a kept result, None if there is none."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return None
    data = json.loads(path.read_text())
    measured = datetime.fromisoformat(data["measured"])
    return Result(name, measured, data.get("took_seconds"), _changed(name, data["sources"]))


def is_fresh(name: str) -> bool:
    """Return whether a result is kept, and was measured on these sources."""
    result = load(name)
    return result is not None and not result.changed


def names() -> list[str]:
    """Return the names of all kept results."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.json"))


def kept() -> list[Result]:
    """Return all kept results, oldest first."""
    found = [result for name in names() if (result := load(name))]
    return sorted(found, key=lambda result: result.measured)


@cache
def digest(source: str) -> str:
    """Return 12 digits of SHA-256 over a file, or over a folder's file names and contents."""
    total = sha256()
    for name in _listed(PROJECT):
        path = PROJECT / name
        if (name == source or name.startswith(f"{source}/")) and path.is_file():
            total.update(f"{name}\0".encode() + sha256(_content(path)).digest())
    return total.hexdigest()[:12]


def _changed(name: str, measured_on: dict[str, str] | str) -> tuple[str, ...]:
    if isinstance(measured_on, str):  # one digest over all, as results were kept at first
        return ("unknown (kept without a digest for each source)",)
    return tuple(s for s in sources_of(name) if measured_on.get(s) != digest(s))


@cache
def _listed(project: Path) -> list[str]:
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    return sorted(filter(None, listed.stdout.split("\0")))


def _content(path: Path) -> bytes:
    """Return a file's bytes; of Python, the code without comments, docstrings and layout."""
    raw = path.read_bytes()
    return _code(ast.parse(raw)).encode() if path.suffix == ".py" else raw


def _code(node: object) -> str:
    # Not ast.dump: what it prints of empty fields differs between versions of Python.
    if isinstance(node, list):
        return "[" + ",".join(_code(each) for each in node if not _is_text(each)) + "]"
    if isinstance(node, ast.AST):
        fields = [(key, value) for key, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({','.join(f'{key}={_code(v)}' for key, v in fields)})"
    return repr(node)


def _is_text(node: object) -> bool:
    """Return whether a statement is a docstring, of a field, too."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def summary(results: list[Result]) -> str:
    """Return one line on the stale ones of these results, oldest first; empty if all are fresh."""
    stale = [result for result in results if result.changed]
    if not stale:
        return ""
    return (
        f"{len(stale)} of {len(results)} kept results were measured on other sources (oldest"
        f" {stale[0].measured:%Y-%m-%d}): make soak runs them again, oldest first."
    )


def listing(results: list[Result]) -> list[str]:
    """Return a line for each stale result: its name, its age, what changed."""
    stale = [result for result in results if result.changed]
    width = max((len(result.name) for result in stale), default=0)
    return [f"{r.name:{width}}  {r.days:>3} days  {', '.join(r.changed)}" for r in stale]


def main(arguments: list[str]) -> int:
    """Print one line, or with --list all; stale results are no failure."""
    try:
        results = kept()
    except (OSError, subprocess.CalledProcessError):  # an archive's files, or git is missing
        print("Could not check bench/results/ for stale results: this is not a git checkout.")
        return 0
    for line in listing(results) if arguments == ["--list"] else filter(None, [summary(results)]):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
