"""Results of long measurements: kept with a hash of the sources that they were measured on.

A result goes stale when one of those sources changes; `python -m bench.results` names the stale
ones, as `make check` does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "bench" / "results"
# What a result of a deploy depends on: all that runs, none of what only tells.
SOURCES = (
    "deploy.py", "settings", "preflight", "uv.lock", "tasks", "operations", "templates", "onhost",
    "tests/faults/probe",
)  # fmt: skip
APP = ("app/links", "app/migrations", "app/uv.lock")
# By the results' folder, where they depend on something else.
SOURCES_OF = {
    "serving": (
        *APP, "tasks/apps.py", "tasks/nginx.py", "operations/nginx.py", "templates/etc/NAME",
        "templates/etc/onebox/nginx", "templates/etc/systemd/system", "templates/sandbox.j2",
        "bench/serving.py", "bench/wrk.py",
    ),
    "app": (*APP, "app/tests/test_soak.py"),
}  # fmt: skip


def sources_of(name: str) -> tuple[str, ...]:
    """Return what a result depends on."""
    return SOURCES_OF.get(name.partition("/")[0], SOURCES)


def digest(sources: tuple[str, ...] = SOURCES) -> str:
    """Return the first 16 digits of SHA-256 over the sources' names and contents."""
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard", *sources]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    total = sha256()
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        if (PROJECT / name).is_file():
            total.update(f"{name}\0".encode() + sha256((PROJECT / name).read_bytes()).digest())
    return total.hexdigest()[:16]


def record(name: str, **figures: Any) -> None:
    """Keep a result under its name, as in releases/load."""
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": digest(sources_of(name)),
        **figures,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


def is_fresh(name: str) -> bool:
    """Tell whether a result is there, and was measured on these sources."""
    path = FOLDER / f"{name}.json"
    return path.exists() and json.loads(path.read_text())["sources"] == digest(sources_of(name))


def stale() -> list[str]:
    """Return the names of results that were measured on other sources."""
    names = sorted(str(p.relative_to(FOLDER).with_suffix("")) for p in FOLDER.rglob("*.json"))
    return [name for name in names if not is_fresh(name)]


def main() -> int:
    """Name the stale results; that is news, not a failure."""
    try:
        lines = [f"bench/results/{name}.json was measured on other sources." for name in stale()]
    except (OSError, subprocess.CalledProcessError):  # an archive's files, or no git
        lines = ["Which of bench/results/ are stale is not known: this is no checkout of git."]
    for line in lines:
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
