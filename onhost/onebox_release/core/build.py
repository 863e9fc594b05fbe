"""Build a release: its folder, environment file and virtual environment, each atomically."""

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
SERVERS = Path("/etc/uv/uv.toml")  # the administrator's


def build(release: Release, digest: str, credentials: Credentials) -> None:
    """Create the missing parts of a release: its folder, packages and environment.

    Raises RefusedError if the disk has no room, ReleaseError if the archive is missing or damaged
    or its packages cannot be installed.
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
    """The contents of an archive."""

    size: int
    entries: int
    about_packages: dict[str, bytes]


def _contents(app: App, digest: str) -> Contents:
    """Return an archive's contents. Raises ReleaseError if they do not match its digest."""
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
    """Return the rules for packages, with the indexes of the server's uv.toml and of the
    inventory."""
    indexes = [*packages.indexes_of(credentials.environment)]
    if SERVERS.is_file():
        indexes += packages.indexes_in(toml.read(str(SERVERS), SERVERS.read_bytes()))
    return packages.Rules(
        parameters.build, parameters.by_key, frozenset(indexes), uv_unit.machine()
    )


def _key(project: packages.Project, parameters: Parameters) -> bytes:
    """Return the bytes that identify an environment. Environments built for a deploy key have keys
    of their own: the archive's code may have influenced them, so an administrator's deploy must not
    use them."""
    return project.key + (b"\0by key" if parameters.by_key else b"")


def _unpack(packed: Path, venv: Path, release: Release) -> None:
    """Unpack an archive under a temporary name; rename it once it is all on the disk."""
    log(f"Unpacking release {release}")
    new = release.folder.with_name(f".{release}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        _fill(packed, new / "app")
        _complete(new, venv, release)
        os.sync()
        durable.rename(new, release.folder)
    finally:  # a half unpacked release must not keep the disk full
        shutil.rmtree(new, ignore_errors=True)
    faults.point("unpacked")


def sweep(app: App) -> None:
    """Remove unfinished folders of killed deploys, as they could be what fills the disk."""
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
    """Add the files that a release is served with."""
    app = release.app
    shutil.copy(app.configuration / "gunicorn.conf.py", new)
    (new / "venv").symlink_to(venv)
    (new / "run").symlink_to(release.socket.parent)
    _publish(new, (app.configuration / "static").read_text())
    # nginx must reach `run`; only the app may read the code.
    new.chmod(0o755)
    _restrict_to(new / "app", app.name)


def _publish(new: Path, mappings: str) -> None:
    """Hard-link the folders of static files to where nginx can read them, under the path that it
    serves them at."""
    lines = [line.split() for line in mappings.splitlines() if not line.startswith("#")]
    for path, folder in lines:
        if not (new / "app" / folder).is_dir():
            raise ReleaseError(
                f"The archive has no folder {folder} to serve. It has no files that git ignores."
            )
        shutil.copytree(new / "app" / folder, new / "static" / path, copy_function=os.link)


def _install(release: Release, credentials: Credentials) -> None:
    """Have an unprivileged user install the packages, and transfer the result to root."""
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
    if project.ignored:
        log(f"Settings that the server ignores: {', '.join(map(repr, project.ignored[:20]))}")
    try:
        uv_unit.Builder(app, app.parameters.by_key).install(project, venv, staging, credentials)
        handover.transfer_to_root(staging, uv_unit.interpreter())
        (staging / ".lock").unlink(missing_ok=True)  # uv's lock file
        _restrict_to(staging, app.name)
        staging.rename(venv)
    finally:
        uv_unit.remove(staging)
    integrity.write_manifest(venv, contents=False)
    os.sync()
    durable.write(venv / MARKER, "")
    faults.point("installed")


def forget_packages(app: App) -> None:
    """Delete uv's caches, so that the next environment downloads its packages again."""
    uv_unit.remove(app.caches)


def _restrict_to(folder: Path, app: str) -> None:
    """Let only the app read a folder."""
    os.chown(folder, 0, grp.getgrnam(app).gr_gid)
    folder.chmod(0o750)


def _configure(release: Release) -> None:
    path = release.environment
    if not path.exists():
        release_units.write(release)
        common = (release.app.configuration / "app.env").read_text()
        durable.write(path, f"{common}ONEBOX_RELEASE={release}\n")
        faults.point("configured")
