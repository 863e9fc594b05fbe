"""The history of releases: what was live when, what to roll back to, what to delete."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onebox_release.app import App, Release
from onebox_release.core import identity, release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, untrusted
from onebox_release.terminal import printable, table, when

MOST, NEWEST = 1000, 500  # lines; a history longer than the first is cut to the second

SUCCEEDED = "succeeded"  # the result of a deploy, rollback or restart
OLDER = {"put back": "rolled back", "live": SUCCEEDED}  # results that an older onebox wrote
Entry = dict[str, Any]


def record(app: App, **entry: Any) -> None:
    """Add an entry to the history, with the time in UTC."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk must not stop a deploy
        durable.append(app.history, json.dumps({"at": at, **entry}))


def read(app: App) -> list[Entry]:
    """Return the history, oldest first, without a line that a power cut tore."""
    lines = app.history.read_text().splitlines() if app.history.exists() else []
    entries = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
            entries.append({**entry, "result": OLDER.get(entry["result"], entry["result"])})
    return entries


def begin(app: App, entry: dict[str, str]) -> None:
    """Keep the start of an entry, in case the deploy is cut off before it is recorded.

    A full disk is no failure: a deploy prunes old releases, and a rollback needs no space.
    """
    with suppress(OSError):
        durable.write(app.begun, json.dumps(entry))


def begun(app: App, release: str) -> dict[str, str] | None:
    """Return the start of the entry that a deploy of a release did not end."""
    try:
        entry: dict[str, str] = json.loads(app.begun.read_text())
    except FileNotFoundError:
        return None
    return entry if entry["release"] == release else None


def healthy(app: App) -> list[str]:
    """Return the installed releases that were healthy, the last one to go live first.

    A deploy that failed before it went live does not make an earlier deploy of its release
    unhealthy.
    """
    found: dict[str, None] = {}
    for entry in read(app):
        # Nor does a failed restart: the release serves as before.
        restarting = entry["what"] == "restart"
        if entry["result"] in {SUCCEEDED, "altered"} or (
            entry["result"] == "rolled back" and not restarting
        ):
            found.pop(entry["release"], None)
        if entry["result"] == SUCCEEDED:
            found[entry["release"]] = None
    return [release for release in reversed(found) if app.release(release).folder.exists()]


def memory(release: Release) -> int | None:
    """Return a release's memory in bytes when it last went live; None if unknown."""
    entries = (e for e in reversed(read(release.app)) if e["release"] == release.id)
    return next((e["memory"] for e in entries if e.get("memory")), None)


def releases(app: App) -> list[Entry]:
    """Return the live release and those to roll back to, newest first."""
    at = {entry["release"]: entry["at"] for entry in read(app) if entry["result"] == SUCCEEDED}
    live = str(app.live())
    return [{"release": name, "at": at[name], "live": name == live} for name in healthy(app)]


def render_releases(found: list[Entry]) -> str:
    """Return releases as a table."""
    lines = [
        (entry["release"], f"{when(entry['at'])} UTC", "live" if entry["live"] else "kept")
        for entry in found
    ]
    return table(lines) if lines else "No release is installed."


def render(entries: list[Entry]) -> str:
    """Return the history as a table, with the reason below each failure."""
    lines = [
        (when(e["at"]), e["what"], e["release"], e["result"], f"{e.get('seconds', '?')} s")
        for e in entries
    ]
    if not lines:
        return "Nothing has been deployed."
    texts = table(lines).splitlines()
    for number, entry in reversed([*enumerate(entries)]):
        if why := entry.get("why"):
            texts.insert(number + 1, f"  {printable(why.splitlines()[0])}")
    return "\n".join(texts)


def previous(app: App, live: str | None) -> str | None:
    """Return the healthy release that the live one replaced, or that release's predecessor.

    So two rollbacks go two releases back, and never to one that was rolled back from.
    """
    under, good = _deployed_over(app), healthy(app)
    release = under.pop(live or "", None)
    while release and (release == live or release not in good):
        release = under.pop(release, None)  # pop: two releases may have replaced each other
    return release or None


def successor(app: App, release: str) -> str | None:
    """Return the release that last replaced this one."""
    over = [new for new, old in _deployed_over(app).items() if old == release]
    return over[-1] if over else None


def shorten(app: App) -> None:
    """Remove old entries of a long history: repeated failures must not let it grow for ever.

    Entries about installed releases stay: when each went live, which one it replaced, and the
    result.
    """
    entries = read(app)
    if len(entries) <= MOST:
        return
    last = {
        (entry["release"], entry["what"], entry["result"]): number
        for number, entry in enumerate(entries)
        if _counts(app, entry)
    }
    kept = {*last.values(), *range(len(entries) - NEWEST, len(entries))}
    lines = [json.dumps(entries[number]) for number in sorted(kept)]
    durable.write(app.history, "\n".join(lines) + "\n")


def _counts(app: App, entry: Entry) -> bool:
    is_result = entry["result"] in {SUCCEEDED, "altered", "rolled back"} or entry.get("serves")
    return bool(entry["release"] and is_result and app.release(entry["release"]).folder.exists())


def prune(app: App, keep: int, needed: set[str], digest: str) -> None:
    """Delete all but the needed and the last healthy releases, and what only deleted ones used.

    Archives of kept releases stay, the one of this digest, and those that arrived after it:
    administrators' uploads that wait for their deploys.
    """
    kept = {*healthy(app)[:keep], *needed}
    for folder in (app.home / "releases").iterdir():
        if folder.name not in kept:
            _remove(folder)
    for file in (app.configuration / "releases").iterdir():
        if file.stem not in kept:
            file.unlink()
    release_units.prune(app, kept)
    links = (app.release(release).folder / "venv" for release in kept)
    used = {link.readlink().name for link in links if link.is_symlink()}
    for venv in (app.home / "venvs").iterdir():
        if venv.name not in used:
            _remove(venv)
    ours = app.incoming(digest)
    arrived = ours.stat().st_mtime_ns if ours.exists() else time.time_ns()
    for archive in (app.state / "incoming").iterdir():
        name = archive.name.removesuffix(".tar.gz")
        is_kept = name == digest or identity.artifact(name) in {each.split("-")[0] for each in kept}
        if not is_kept and archive.stat().st_mtime_ns <= arrived:
            archive.unlink()
    with suppress(OSError):  # a full disk
        shorten(app)


def forget(release: Release) -> None:
    """Delete a release that was never live."""
    _remove(release.folder)
    release.environment.unlink(missing_ok=True)
    release_units.remove(release)


def deployer(release: Release) -> str:
    """Return who last deployed a release; "" if unknown."""
    name, entries = identity.original(release).id, read(release.app)
    deploys = (e for e in reversed(entries) if e["what"] == "deploy" and e["release"] == name)
    return next((str(entry.get("who") or "") for entry in deploys), "")


def _deployed_over(app: App) -> dict[str, str]:
    """Return, for each deployed release, the release that it replaced."""
    over: dict[str, str] = {}
    for entry in read(app):
        if entry["what"] == "deploy" and entry["result"] == SUCCEEDED:
            over.pop(entry["release"], None)
            over[entry["release"]] = entry["before"]
    return over


def _remove(folder: Path) -> None:
    """Rename a folder, then delete it: a half-deleted one must not pass for complete."""
    if not folder.name.startswith("."):
        gone = folder.with_name(f".{folder.name}.gone")
        _delete(gone)
        folder = folder.rename(gone)
    _delete(folder)


def _delete(folder: Path) -> None:
    with suppress(ReleaseError):  # the next deploy tries again
        untrusted.delete(folder)
