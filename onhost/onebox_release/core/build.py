"""A release's folder, environment and virtual environment, made whole or not at all."""

from __future__ import annotations

import grp
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onebox_release import faults
from onebox_release.app import App, Release
from onebox_release.core import identity, integrity, release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, resources
from onebox_release.install import archive, handover, packages, toml, uv_unit
from onebox_release.install.credentials import Credentials
from onebox_release.parameters import Parameters
from onebox_release.report import log

MARKER = ".complete"
SERVERS = Path("/etc/uv/uv.toml")  # an administrator's


def build(release: Release, digest: str, credentials: Credentials) -> None:
    """Make what is missing of a release: its folder, its packages, its environment.

    Raises RefusedError where there is no room, ReleaseError where the archive is absent or
    damaged, or its packages can't be had.
    """
    app, folder = release.app, release.folder
    if not folder.exists():
        contents = _contents(app, digest)
        project = packages.read(contents.about_packages, _rules(app.parameters, credentials))
        key = identity.environment_key(_key(project, app.parameters), app)
        venv = app.home / "venvs" / key
        wheels = sum(project.wheels.values())
        room = 0 if (venv / MARKER).exists() else resources.environment(wheels)
        resources.check_disk(app, contents.size, contents.entries, environment=room)
        _unpack(app.incoming(digest), venv, release)
    _install(release, credentials)
    _configure(release)
    if not (folder / integrity.MANIFEST).exists():
        integrity.write_manifest(folder, *integrity.other_files(release), contents=True)


@dataclass(frozen=True)
class Contents:
    """What an archive holds."""

    size: int
    entries: int
    about_packages: dict[str, bytes]


def _contents(app: App, digest: str) -> Contents:
    """Return what an archive holds. Raises ReleaseError where it isn't what was announced."""
    path = app.incoming(digest)
    size = 0
    names: set[str] = set()

    def files() -> Iterator[tuple[str, int, Callable[[], bytes]]]:
        nonlocal size
        for member in archive.members(file, archive.BY_PERSON):
            size += member.size
            names.update([member.name, *map(str, PurePosixPath(member.name).parents)])
            yield member.name, member.size, lambda: b"".join(member.chunks())  # noqa: B023 - now

    try:
        archive.check(path, digest, archive.BY_PERSON)
        with archive.opened(path) as file:
            found = packages.collect(files())
    except ReleaseError as error:
        raise ReleaseError(f"{error} ({path.name[:12]})") from error
    return Contents(size, len(names), found)


def _rules(parameters: Parameters, credentials: Credentials) -> packages.Rules:
    """Return what packages may be: of the server's own indexes and of those that the inventory
    names, too."""
    indexes = [*packages.indexes_of(credentials.environment)]
    if SERVERS.is_file():
        indexes += packages.indexes_in(toml.read(str(SERVERS), SERVERS.read_bytes()))
    return packages.Rules(
        parameters.build, parameters.by_key, frozenset(indexes), uv_unit.machine()
    )


def _key(project: packages.Project, parameters: Parameters) -> bytes:
    """Return what makes an environment the same. One that a deploy key brought is none that a
    person's deploy goes on with: what was built for it, its own code could have had a hand in."""
    return project.key + (b"\0by key" if parameters.by_key else b"")


def _unpack(packed: Path, venv: Path, release: Release) -> None:
    """Make the folder under another name, and give it its own when all of it is on the disk."""
    log(f"Unpacking release {release}")
    new = release.folder.with_name(f".{release}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        _fill(packed, new / "app")
        _complete(new, venv, release)
        os.sync()
        durable.rename(new, release.folder)
    finally:  # a full disk, say: what is half made is not to keep it full
        shutil.rmtree(new, ignore_errors=True)
    faults.point("unpacked")


def sweep(app: App) -> None:
    """Remove what a killed deploy left half made: its files could be what fills the disk."""
    for new in (app.home / "releases").glob(".*.new"):
        shutil.rmtree(new, ignore_errors=True)


def _fill(packed: Path, folder: Path) -> None:
    with archive.opened(packed) as file:
        for member in archive.members(file, archive.BY_PERSON):
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as target:
                target.writelines(member.chunks())
            path.chmod(0o755 if member.executable else 0o644)


def _complete(new: Path, venv: Path, release: Release) -> None:
    """Add to a release's code what it is served with."""
    app = release.app
    shutil.copy(app.configuration / "gunicorn.conf.py", new)
    (new / "venv").symlink_to(venv)
    (new / "run").symlink_to(release.socket.parent)
    _publish(new, (app.configuration / "static").read_text())
    # nginx must get through to `run`; the code is nobody's business but the app's.
    new.chmod(0o755)
    _own(new / "app", app.name)


def _publish(new: Path, wanted: str) -> None:
    """Give folders of the code a twin where nginx may read them, under the path that it serves
    them at; links take no room."""
    lines = [line.split() for line in wanted.splitlines() if not line.startswith("#")]
    for path, folder in lines:
        if not (new / "app" / folder).is_dir():
            raise ReleaseError(
                f"The archive has no folder {folder} to serve. What git ignores is not in it."
            )
        shutil.copytree(new / "app" / folder, new / "static" / path, copy_function=os.link)


def _install(release: Release, credentials: Credentials) -> None:
    """Have packages installed by a user who may do nothing else, and make the result root's."""
    app, folder = release.app, release.folder
    venv = (folder / "venv").readlink()
    if (venv / MARKER).exists():
        return
    staging = venv.with_name(f".{venv.name}.new")
    uv_unit.remove(venv, staging)
    paths = sorted(path for path in (folder / "app").rglob("*") if path.is_file())
    files = packages.collect(
        (str(path.relative_to(folder / "app")), path.stat().st_size, path.read_bytes)
        for path in paths
    )
    project = packages.read(files, _rules(app.parameters, credentials))
    log(f"Installing the packages of {packages.LOCK if project.locked else packages.REQUIREMENTS}")
    if project.passed_over:
        log(f"Not read on the server: {', '.join(map(repr, project.passed_over[:20]))}")
    try:
        uv_unit.Builder(app, app.parameters.by_key).install(project, venv, staging, credentials)
        handover.take_over(staging, uv_unit.interpreter())
        (staging / ".lock").unlink(missing_ok=True)  # uv's own
        _own(staging, app.name)
        staging.rename(venv)
    finally:
        uv_unit.remove(staging)
    integrity.write_manifest(venv, contents=False)
    os.sync()
    durable.write(venv / MARKER, "")
    faults.point("installed")


def forget_packages(app: App) -> None:
    """Have the next environment made of packages that are fetched anew."""
    uv_unit.remove(app.caches)


def _own(folder: Path, app: str) -> None:
    """Let the app read below a folder, and nobody else."""
    os.chown(folder, 0, grp.getgrnam(app).gr_gid)
    folder.chmod(0o750)


def _configure(release: Release) -> None:
    path = release.environment
    if not path.exists():
        release_units.write(release)
        common = (release.app.configuration / "app.env").read_text()
        durable.write(path, f"{common}ONEBOX_RELEASE={release}\n")
        faults.point("configured")
