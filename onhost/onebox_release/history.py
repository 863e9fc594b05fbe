"""What was released when, and what may be thrown away."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import Any

from . import durable
from .places import Places


def record(places: Places, **entry: Any) -> None:
    """Add what happened to the history, with the time in UTC."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    durable.append(places.history, json.dumps({"at": at, **entry}))


def read(places: Places) -> list[dict[str, Any]]:
    """Return the history, oldest first; a last line that a power cut tore is left out."""
    lines = places.history.read_text().splitlines() if places.history.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def healthy(places: Places) -> list[str]:
    """Return the releases that went live and are still here, the latest first."""
    live = [entry["release"] for entry in read(places) if entry["result"] == "live"]
    newest_first = dict.fromkeys(reversed(live))
    return [release for release in newest_first if places.release(release).exists()]


def prune(places: Places, keep: int) -> None:
    """Remove all but the last healthy releases, and what only removed ones used."""
    kept = set(healthy(places)[:keep])
    for folder in (places.home / "releases").iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder)
    for file in (places.configuration / "releases").iterdir():
        if file.stem not in kept:
            file.unlink()
    used = {(places.release(release) / "venv").readlink().name for release in kept}
    for venv in (places.home / "venvs").iterdir():
        if venv.name not in used:
            shutil.rmtree(venv)
    for archive in (places.state / "incoming").iterdir():
        archive.unlink()
