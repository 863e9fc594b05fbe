"""Whether a release is still what was built, and runs as the deployer described it.

A manifest is written when a release and its virtual environment are made. Contents are compared
by checksum, but for the environment's thousands of files: their size and time must do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from onebox_release.app import App, Release
from onebox_release.core import identity, release_units, unit_states
from onebox_release.host import durable, systemd

Difference = tuple[str, str]
"""What differs, and how."""
MANIFEST = ".manifest"
UNMARKED = {MANIFEST, ".complete"}  # what is written when the rest is there
OURS = "# Made by onebox"
SET_ASIDE = ".set-aside"  # behind the name of a unit file, which systemd then doesn't read
# Where a person, or systemctl for one, changes units.
UNIT_FOLDERS = (
    "etc/systemd/system", "etc/systemd/system.control",
    "run/systemd/system", "run/systemd/system.control",
)  # fmt: skip


def write_manifest(folder: Path, *more: Path, contents: bool) -> None:
    """Write down what a folder holds, and the files beside it; for root alone."""
    durable.write(folder / MANIFEST, json.dumps(_marks(folder, *more, contents=contents)))


def altered(release: Release) -> list[Difference]:
    """Return what of a release is not as it was made; nothing of one that isn't here."""
    folder = release.folder
    return [
        *_compared(folder, *other_files(release), contents=True),
        *_compared(folder / "venv", contents=False),
    ]


def other_files(release: Release) -> list[Path]:
    """Return the files of a release that are not in its folder."""
    return [release.environment, *release_units.units_of(release)]


def runtime_differences(release: Release) -> list[Difference]:
    """Return how the live release runs otherwise than described, so that it must be made anew."""
    found = [(str(path), "overrides our unit") for path in overrides(release.app)]
    own = release_units.units_of(release)
    secrets = [release.app.configuration / name for name in ("secrets.env", "generated.env")]
    files = [*own, *secrets] if own else identity.files(release.app)
    newest = max((int(path.stat().st_mtime) for path in files if path.exists()), default=0)
    for unit in release_units.services(release):
        started = systemd.show(unit, "ActiveEnterTimestamp").get("ActiveEnterTimestamp")
        if started and int(started.removeprefix("@")) < newest:
            found.append((unit, "was started before its files were changed"))
    return found


def stopped(release: Release) -> list[Difference]:
    """Return the live release's units that are not up; a start mends that."""
    units = release_units.services(release)
    units += [release.target, release.web_socket]
    return [(unit, "is stopped") for unit in units if not systemd.is_active(unit)]


def differences(app: App, release: Release | None) -> list[Difference]:
    """Return all that the next deploy would mend of the live release."""
    left = [(str(path), "is of no process") for path in leftovers(app)]
    if release is None:
        return left
    kinds = (runtime_differences, stopped)
    found = [difference for kind in kinds for difference in kind(release)]
    return [*altered(release), *found, *not_serving(release), *left]


def not_serving(release: Release) -> list[Difference]:
    """Return that the live release does not serve, and why; the next deploy replaces it."""
    problem = unit_states.live_problem(release)
    return [(f"release {release}", f"does not serve: {problem}")] if problem else []


def overrides(app: App) -> list[Path]:
    """Return what changes a release's units and is not ours: drop-ins, masks, single units."""
    own = _own(app)
    own |= {path for path, whose in release_units.all_units(app) if whose.folder.exists()}
    found: list[Path] = []
    for folder in (app.root / name for name in UNIT_FOLDERS):
        for pattern in (path.name.replace("@.", "@*.") for path in own if "@." in path.name):
            found += folder.glob(f"{pattern}.d/*.conf")
            found += (path for path in folder.glob(pattern) if path not in own)
    return sorted(found)


def leftovers(app: App) -> list[Path]:
    """Return the unit files of processes that were taken out of the settings."""
    own = _own(app)
    process = re.compile(rf"{re.escape(app.name)}-[a-z0-9]+@\.service")  # not another app's
    there = app.units_folder.glob(f"{app.name}-*@.service")
    return sorted(
        path
        for path in there
        if own
        and path not in own
        and process.fullmatch(path.name)
        and path.read_text().startswith(OURS)
    )


def _own(app: App) -> set[Path]:
    return {app.units_folder / name for name in app.parameters.units}


def set_aside(app: App) -> None:
    """Have systemd pass over what overrides the app's units; files are kept under another name."""
    for path in overrides(app):
        if path.is_symlink():
            path.unlink()
        else:
            path.rename(path.with_name(path.name + SET_ASIDE))


def sweep(app: App) -> None:
    """Remove what only processes had that are no more."""
    gone = leftovers(app)
    for path in gone:
        path.unlink()
    if gone:
        systemd.systemctl("daemon-reload")


def _compared(folder: Path, *more: Path, contents: bool) -> Iterator[Difference]:
    path = folder / MANIFEST
    if not path.exists():  # made by an older onebox, or not at all
        return
    made: dict[str, str] = json.loads(path.read_text())
    there = _marks(folder, *more, contents=contents)
    for name in sorted(made.keys() | there.keys()):
        if made.get(name) != there.get(name):
            missing, extra = name not in there, name not in made
            how = "is missing" if missing else "is extra" if extra else "was altered"
            yield str(folder / name), how


def _marks(folder: Path, *more: Path, contents: bool) -> dict[str, str]:
    """Return a mark for each path, seen from the folder; one outside keeps its own name."""
    found = {str(path): _mark(path, contents=contents) for path in more if path.exists()}
    for root, folders, files in os.walk(folder):
        if contents and "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in chain(folders, files):
            path = os.path.join(root, name)  # noqa: PTH118 - five thousand of them
            if name not in UNMARKED:
                found[os.path.relpath(path, folder)] = _mark(path, contents=contents)
    return found


def _mark(path: str | Path, *, contents: bool) -> str:
    state = os.lstat(path)
    kept = f"{state.st_mode:o} {state.st_uid}:{state.st_gid}"
    if stat.S_ISLNK(state.st_mode):
        return f"{kept} {Path(path).readlink()}"
    if not stat.S_ISREG(state.st_mode):
        return kept
    if not contents:
        return f"{kept} {state.st_size} {int(state.st_mtime)}"
    return f"{kept} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
