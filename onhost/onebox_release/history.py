"""What was released when, and what may be thrown away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from . import durable
from .places import Places

Entry = dict[str, Any]


def record(places: Places, **entry: Any) -> None:
    """Add what happened to the history, with the time in UTC."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk must not stop what is under way
        durable.append(places.history, json.dumps({"at": at, **entry}))


def read(places: Places) -> list[Entry]:
    """Return the history, oldest first; a line that a power cut tore is left out."""
    lines = places.history.read_text().splitlines() if places.history.exists() else []
    entries = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            entries.append(json.loads(line))
    return entries


def healthy(places: Places) -> list[str]:
    """Return the releases that are here and last went well, the newest deploy first."""
    return [r for r in by_deploy(read(places)) if places.release(r).exists()]


def by_deploy(entries: Iterable[Entry]) -> list[str]:
    """Return the releases whose last word is good, the newest deploy first.

    Going back to a release does not make it newer: so two rollbacks go back by two.
    """
    order: dict[str, None] = {}
    good: dict[str, bool] = {}
    for entry in entries:
        release = entry["release"]
        good[release] = entry["result"] == "live"
        if entry["what"] != "rollback" or release not in order:
            order.pop(release, None)
            order[release] = None
    return [release for release in reversed(order) if good[release]]


def previous(places: Places, live: str | None) -> str | None:
    """Return the healthy release that was deployed before the live one."""
    releases = healthy(places)
    older = releases[releases.index(live) + 1 :] if live in releases else releases
    return older[0] if older else None


def prune(places: Places, keep: int, live: str | None) -> None:
    """Remove all but the live and the last healthy releases, and what only removed ones used."""
    kept = {*healthy(places)[:keep], *([live] if live else [])}
    for folder in (places.home / "releases").iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    for file in (places.configuration / "releases").iterdir():
        if file.stem not in kept:
            file.unlink()
    used = {(places.release(release) / "venv").readlink().name for release in kept}
    for venv in (places.home / "venvs").iterdir():
        if venv.name not in used:
            shutil.rmtree(venv, ignore_errors=True)
    for archive in (places.state / "incoming").iterdir():
        archive.unlink()
