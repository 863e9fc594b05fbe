"""A release's folder, environment and virtual environment, made whole or not at all."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from . import archive, durable, faults, identity, own_units, pins, resources, verify
from .credentials import Credentials
from .errors import ReleaseError
from .parameters import Parameters
from .places import Places
from .report import say

UV = "/usr/local/lib/onebox/uv/bin/uv"
CACHE = Path("/var/cache/onebox/uv")
MARKER = ".complete"
LOCK, REQUIREMENTS = "uv.lock", "requirements.txt"
SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"


def build(
    places: Places, parameters: Parameters, digest: str, release: str, credentials: Credentials
) -> None:
    """Make what is missing of a release: its folder, its packages, its environment.

    Raises RefusedError where there is no room, ReleaseError where the archive is absent or
    damaged, or its packages can't be had.
    """
    folder = places.release(release)
    if not folder.exists():
        contents = _contents(places, digest)
        venv = places.home / "venvs" / identity.environment_key(contents.pins, places)
        environment = not (venv / MARKER).exists()
        resources.check_disk(places, contents.size, contents.entries, environment=environment)
        _unpack(places.incoming(digest), venv, folder, places, release)
    _install(places, parameters, folder, credentials)
    _configure(places, parameters, release)
    if not (folder / verify.MANIFEST).exists():
        verify.write_manifest(folder, *verify.beside(places, release), contents=True)


@dataclass(frozen=True)
class Contents:
    """What an archive holds."""

    size: int
    entries: int
    pins: bytes


def _contents(places: Places, digest: str) -> Contents:
    """Return what an archive holds. Raises ReleaseError where it isn't what was announced."""
    path = places.incoming(digest)
    size, names, pins = 0, set(), {}
    try:
        archive.check(path, digest, archive.BY_PERSON)
        with archive.opened(path) as file:
            for member in archive.members(file, archive.BY_PERSON):
                size += member.size
                names |= {member.name, *map(str, PurePosixPath(member.name).parents)}
                if member.name in {LOCK, REQUIREMENTS}:
                    pins[member.name] = b"".join(member.chunks())
    except ReleaseError as error:
        raise ReleaseError(f"{error} ({path.name[:12]})") from error
    if not pins:
        raise ReleaseError(f"The archive has no {LOCK} and no {REQUIREMENTS}.")
    return Contents(size, len(names), pins.get(LOCK) or pins[REQUIREMENTS])


def _unpack(packed: Path, venv: Path, folder: Path, places: Places, release: str) -> None:
    """Make the folder under another name, and give it its own when all of it is on the disk."""
    say(f"Unpacking release {release}")
    new = folder.with_name(f".{release}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        _fill(packed, new / "app")
        _complete(new, venv, places, release)
        os.sync()
        durable.rename(new, folder)
    finally:  # a full disk, say: what is half made is not to keep it full
        shutil.rmtree(new, ignore_errors=True)
    faults.point("unpacked")


def sweep(places: Places) -> None:
    """Remove what a killed deploy left half made: its files could be what fills the disk."""
    for new in (places.home / "releases").glob(".*.new"):
        shutil.rmtree(new, ignore_errors=True)


def _fill(packed: Path, folder: Path) -> None:
    with archive.opened(packed) as file:
        for member in archive.members(file, archive.BY_PERSON):
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as target:
                target.writelines(member.chunks())
            path.chmod(0o755 if member.executable else 0o644)


def _complete(new: Path, venv: Path, places: Places, release: str) -> None:
    """Add to a release's code what it is served with."""
    shutil.copy(places.configuration / "gunicorn.conf.py", new)
    (new / "venv").symlink_to(venv)
    (new / "run").symlink_to(places.socket(release).parent)
    _publish(new, (places.configuration / "static").read_text())
    # nginx must get through to `run`; the code is nobody's business but the app's.
    new.chmod(0o755)
    _own(new / "app", places.app)


def _publish(release: Path, wanted: str) -> None:
    """Give folders of the code a twin where nginx may read them, under the path that it serves
    them at; links take no room."""
    lines = [line.split() for line in wanted.splitlines() if not line.startswith("#")]
    for path, folder in lines:
        if not (release / "app" / folder).is_dir():
            raise ReleaseError(
                f"The archive has no folder {folder} to serve. What git ignores is not in it."
            )
        shutil.copytree(release / "app" / folder, release / "static" / path, copy_function=os.link)


def _install(
    places: Places, parameters: Parameters, folder: Path, credentials: Credentials
) -> None:
    venv = (folder / "venv").readlink()
    if (venv / MARKER).exists():
        return
    shutil.rmtree(venv, ignore_errors=True)
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)  # private packages are in it, too
    pinned = CACHE / f"{venv.name}.txt"
    options = [] if parameters.build else ["--no-build"]
    if (folder / "app" / LOCK).exists():
        say(f"Installing the packages of {LOCK}")
        # No code of the archive's is installed: building it would run it, as root.
        alone = ["--no-install-project", "--no-install-workspace", "--no-dev"]
        commands = [[UV, "sync", "--locked", *alone, *options]]
    else:
        say(f"Installing the packages of {REQUIREMENTS}")
        durable.write(pinned, pins.only((folder / "app" / REQUIREMENTS).read_text()))
        commands = [
            [UV, "venv", "--quiet", str(venv)],
            [UV, "pip", "sync", "--python", str(venv), *options, str(pinned)],
        ]
    for command in commands:
        _uv(command, venv, places, folder / "app", credentials)
    pinned.unlink(missing_ok=True)
    _compile(venv)
    (venv / ".lock").unlink(missing_ok=True)  # uv leaves it writable by everybody
    _own(venv, places.app)
    verify.write_manifest(venv, contents=False)
    os.sync()
    durable.write(venv / MARKER, "")
    faults.point("installed")


def _uv(
    command: list[str], venv: Path, places: Places, folder: Path, credentials: Credentials
) -> None:
    """Run uv. Raises ReleaseError with what it said if it fails."""
    if credentials.key:  # it is in the memory of an agent alone, which ends with uv
        command = ["ssh-agent", "sh", "-c", 'ssh-add -q - && exec "$@"', "sh", *command]
    result = subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/root",
            "UV_PROJECT_ENVIRONMENT": str(venv),
            "UV_CACHE_DIR": str(CACHE),
            "TMPDIR": str(CACHE),  # uv leaves a lock file for each environment there
            # By its version: an upgrade of the distribution leaves it, and releases that use it.
            "UV_PYTHON": os.path.realpath("/usr/bin/python3"),
            "UV_PYTHON_DOWNLOADS": "never",
            "GIT_SSH_COMMAND": f"{SSH} -o UserKnownHostsFile={places.configuration}/known_hosts",
            **credentials.environment,
        },
        input=credentials.key,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        told = credentials.hidden_in(result.stderr.strip())
        raise ReleaseError(f"uv could not install the packages:\n{told}")


def forget_packages() -> None:
    """Have the next environment made of packages that are fetched anew."""
    shutil.rmtree(CACHE, ignore_errors=True)


def _compile(venv: Path) -> None:
    """Compile bytecode, as root, without running any code of the packages.

    Not by `uv sync --compile-bytecode`: that starts the environment's own Python, which runs what
    packages have in .pth files. A file that doesn't compile is none of a deploy's business.
    """
    compiler = ["/usr/bin/python3", "-I", "-S", "-m", "compileall", "-qq", "-j", "0"]
    subprocess.run([*compiler, str(venv / "lib")], capture_output=True, check=False)


def _own(folder: Path, app: str) -> None:
    """Let the app read below a folder, and nobody else."""
    os.chown(folder, 0, grp.getgrnam(app).gr_gid)
    folder.chmod(0o750)


def _configure(places: Places, parameters: Parameters, release: str) -> None:
    path = places.environment(release)
    if not path.exists():
        own_units.make(places, parameters, release)
        common = (places.configuration / "app.env").read_text()
        durable.write(path, f"{common}ONEBOX_RELEASE={release}\n")
        faults.point("configured")
