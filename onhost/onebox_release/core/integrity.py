"""Check that a release is unchanged since its build, and runs as the deployer described it.

A manifest is written when a release and its virtual environment are built. Contents are compared by
checksum; the environment's thousands of files by size and modification time.
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
"""A path or unit, and its difference."""
MANIFEST = ".manifest"
EXCLUDED = {MANIFEST, ".complete"}  # written last, so not part of the manifest
OURS = "# Made by onebox"
SET_ASIDE = ".set-aside"  # suffix that makes systemd ignore a unit file
# Folders in which an administrator, or systemctl, overrides units.
UNIT_FOLDERS = (
    "etc/systemd/system", "etc/systemd/system.control",
    "run/systemd/system", "run/systemd/system.control",
)  # fmt: skip


def write_manifest(folder: Path, *more: Path, contents: bool) -> None:
    """Write the manifest of a folder and of other files, readable by root only."""
    durable.write(folder / MANIFEST, json.dumps(_fingerprints(folder, *more, contents=contents)))


def altered(release: Release) -> list[Difference]:
    """Return how a release's files differ from its build; nothing if it is not installed."""
    folder = release.folder
    return [
        *_compare(folder, *other_files(release), contents=True),
        *_compare(folder / "venv", contents=False),
    ]


def other_files(release: Release) -> list[Path]:
    """Return the files of a release outside its folder."""
    return [release.environment, *release_units.units_of(release)]


def runtime_differences(release: Release) -> list[Difference]:
    """Return differences of the running live release that need a rebuild."""
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
    """Return the live release's inactive units; starting them repairs that."""
    units = release_units.services(release)
    units += [release.target, release.web_socket]
    return [(unit, "is stopped") for unit in units if not systemd.is_active(unit)]


def differences(app: App, release: Release | None) -> list[Difference]:
    """Return all differences of the live release that the next deploy repairs."""
    left = [(str(path), "belongs to no process") for path in leftovers(app)]
    if release is None:
        return left
    kinds = (runtime_differences, stopped)
    found = [difference for kind in kinds for difference in kind(release)]
    return [*altered(release), *found, *not_serving(release), *left]


def not_serving(release: Release) -> list[Difference]:
    """Return why the live release does not serve, if so; the next deploy rebuilds it."""
    problem = unit_states.live_problem(release)
    return [(f"release {release}", f"does not serve: {problem}")] if problem else []


def overrides(app: App) -> list[Path]:
    """Return files that override a release's units: drop-ins, masks, single units."""
    own = _own_units(app)
    own |= {path for path, whose in release_units.all_units(app) if whose.folder.exists()}
    found: list[Path] = []
    for folder in (app.root / name for name in UNIT_FOLDERS):
        for pattern in (path.name.replace("@.", "@*.") for path in own if "@." in path.name):
            found += folder.glob(f"{pattern}.d/*.conf")
            found += (path for path in folder.glob(pattern) if path not in own)
    return sorted(found)


def leftovers(app: App) -> list[Path]:
    """Return the unit files of processes that were removed from the settings."""
    own = _own_units(app)
    process = re.compile(rf"{re.escape(app.name)}-[a-z0-9]+@\.service")  # not another app's
    candidates = app.units_folder.glob(f"{app.name}-*@.service")
    return sorted(
        path
        for path in candidates
        if own
        and path not in own
        and process.fullmatch(path.name)
        and path.read_text().startswith(OURS)
    )


def _own_units(app: App) -> set[Path]:
    return {app.units_folder / name for name in app.parameters.units}


def set_aside(app: App) -> None:
    """Disable overrides of the app's units; files are kept under another name."""
    for path in overrides(app):
        if path.is_symlink():
            path.unlink()
        else:
            path.rename(path.with_name(path.name + SET_ASIDE))


def sweep(app: App) -> None:
    """Delete the unit files of processes that were removed from the settings."""
    gone = leftovers(app)
    for path in gone:
        path.unlink()
    if gone:
        systemd.systemctl("daemon-reload")


def _compare(folder: Path, *more: Path, contents: bool) -> Iterator[Difference]:
    path = folder / MANIFEST
    if not path.exists():  # built by an older onebox, or missing
        return
    recorded: dict[str, str] = json.loads(path.read_text())
    current = _fingerprints(folder, *more, contents=contents)
    for name in sorted(recorded.keys() | current.keys()):
        if recorded.get(name) != current.get(name):
            missing, extra = name not in current, name not in recorded
            how = "is missing" if missing else "is extra" if extra else "was altered"
            yield str(folder / name), how


def _fingerprints(folder: Path, *more: Path, contents: bool) -> dict[str, str]:
    """Return a fingerprint for each path, relative to the folder; absolute for `more`."""
    found = {str(path): _fingerprint(path, contents=contents) for path in more if path.exists()}
    for root, folders, files in os.walk(folder):
        if contents and "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in chain(folders, files):
            path = os.path.join(root, name)  # noqa: PTH118 - 5,000 files
            if name not in EXCLUDED:
                found[os.path.relpath(path, folder)] = _fingerprint(path, contents=contents)
    return found


def _fingerprint(path: str | Path, *, contents: bool) -> str:
    state = os.lstat(path)
    attributes = f"{state.st_mode:o} {state.st_uid}:{state.st_gid}"
    if stat.S_ISLNK(state.st_mode):
        return f"{attributes} {Path(path).readlink()}"
    if not stat.S_ISREG(state.st_mode):
        return attributes
    if not contents:
        return f"{attributes} {state.st_size} {int(state.st_mtime)}"
    return f"{attributes} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
