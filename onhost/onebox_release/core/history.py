"""What was released when, what can be gone back to, and what may be thrown away."""

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

MOST, NEWEST = 1000, 500  # lines of the history; beyond the first so many of the last are kept

OLDER = {"put back": "rolled back"}  # what an older onebox wrote
Entry = dict[str, Any]


def record(app: App, **entry: Any) -> None:
    """Add what happened to the history, with the time in UTC."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk must not stop what is under way
        durable.append(app.history, json.dumps({"at": at, **entry}))


def read(app: App) -> list[Entry]:
    """Return the history, oldest first; a line that a power cut tore is left out."""
    lines = app.history.read_text().splitlines() if app.history.exists() else []
    entries = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
            entries.append({**entry, "result": OLDER.get(entry["result"], entry["result"])})
    return entries


def healthy(app: App) -> list[str]:
    """Return the releases that are here and have held, the one that went live last first.

    One that failed before it went live has said nothing against its earlier self.
    """
    held: dict[str, None] = {}
    for entry in read(app):
        # A restart that failed says nothing against the release, which serves as before.
        restarting = entry["what"] == "restart"
        if entry["result"] in {"live", "altered"} or (
            entry["result"] == "rolled back" and not restarting
        ):
            held.pop(entry["release"], None)
        if entry["result"] == "live":
            held[entry["release"]] = None
    return [release for release in reversed(held) if app.release(release).folder.exists()]


def memory(release: Release) -> int | None:
    """Return the bytes that a release took when it last went live; None where nobody knows."""
    entries = (e for e in reversed(read(release.app)) if e["release"] == release.id)
    return next((e["memory"] for e in entries if e.get("memory")), None)


def releases(app: App) -> list[Entry]:
    """Return the releases that can be gone back to and the live one, the newest first."""
    at = {entry["release"]: entry["at"] for entry in read(app) if entry["result"] == "live"}
    live = str(app.live())
    return [{"release": name, "at": at[name], "live": name == live} for name in healthy(app)]


def render_releases(found: list[Entry]) -> str:
    """Return releases for a person."""
    lines = [
        (entry["release"], f"{when(entry['at'])} UTC", "live" if entry["live"] else "kept")
        for entry in found
    ]
    return table(lines) if lines else "No release is here."


def render(entries: list[Entry]) -> str:
    """Return the history for a person, with the reason under what failed."""
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
    """Return the healthy release that the live one was deployed over, or what that one was.

    So two rollbacks go back by two, and never to what was gone back from.
    """
    under, good = _deployed_over(app), healthy(app)
    release = under.pop(live or "", None)
    while release and (release == live or release not in good):
        release = under.pop(release, None)  # each once: two may have been deployed over each other
    return release or None


def successor(app: App, release: str) -> str | None:
    """Return the release that was last deployed over this one."""
    over = [new for new, old in _deployed_over(app).items() if old == release]
    return over[-1] if over else None


def shorten(app: App) -> None:
    """Drop the oldest of a long history: whoever fails all the time must not make it endless.

    What is known of the releases that are here stays: when each went live, over which one, and
    the result.
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
    said = entry["result"] in {"live", "altered", "rolled back"} or entry.get("serves")
    return bool(entry["release"] and said and app.release(entry["release"]).folder.exists())


def prune(app: App, keep: int, needed: set[str], digest: str) -> None:
    """Remove all but the needed and the last healthy releases, and what only removed ones used;
    of archives those of kept releases stay, the one of this digest, and those that came after it:
    people's, which wait for their deploys."""
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
    came = ours.stat().st_mtime_ns if ours.exists() else time.time_ns()
    for archive in (app.state / "incoming").iterdir():
        of = archive.name.removesuffix(".tar.gz")
        is_kept = of == digest or identity.artifact(of) in {each.split("-")[0] for each in kept}
        if not is_kept and archive.stat().st_mtime_ns <= came:
            archive.unlink()
    with suppress(OSError):  # a full disk
        shorten(app)


def forget(release: Release) -> None:
    """Remove a release that was never live."""
    _remove(release.folder)
    release.environment.unlink(missing_ok=True)
    release_units.remove(release)


def deployer(release: Release) -> str:
    """Return who deployed a release last; nothing where nobody knows."""
    name, entries = identity.original(release).id, read(release.app)
    deploys = (e for e in reversed(entries) if e["what"] == "deploy" and e["release"] == name)
    return next((str(entry.get("who") or "") for entry in deploys), "")


def _deployed_over(app: App) -> dict[str, str]:
    """Return, for each release that went live by a deploy, the one that was live before."""
    over: dict[str, str] = {}
    for entry in read(app):
        if entry["what"] == "deploy" and entry["result"] == "live":
            over.pop(entry["release"], None)
            over[entry["release"]] = entry["before"]
    return over


def _remove(folder: Path) -> None:
    """Take a folder's name away first: half a folder must not pass for a whole one."""
    if not folder.name.startswith("."):
        gone = folder.with_name(f".{folder.name}.gone")
        _delete(gone)
        folder = folder.rename(gone)
    _delete(folder)


def _delete(folder: Path) -> None:
    with suppress(ReleaseError):  # the next deploy tries again
        untrusted.delete(folder)
