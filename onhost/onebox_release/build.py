"""A release's folder, environment and virtual environment, made whole or not at all."""

from __future__ import annotations

import grp
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

from . import durable, faults, identity
from .errors import ReleaseError
from .parameters import Parameters
from .places import Places
from .report import say

UV = "/usr/local/lib/onebox/uv/bin/uv"
MARKER = ".complete"


def build(places: Places, parameters: Parameters, digest: str, release: str) -> None:
    """Make what is missing of a release: its folder, its packages, its environment.

    Raises ReleaseError where the archive is absent or damaged, or its packages can't be had.
    """
    folder = places.release(release)
    if not folder.exists():
        _unpack(_content(places, digest), folder, places, release)
    _install(places.app, parameters, folder)
    _configure(places, release)


def archive_size(places: Places, digest: str) -> int:
    """Return the bytes of an archive, packed; 0 where it is not here."""
    path = places.incoming(digest)
    return path.stat().st_size if path.exists() else 0


def environments(places: Places) -> list[Path]:
    """Return the virtual environments that are whole."""
    return [marker.parent for marker in (places.home / "venvs").glob(f"*/{MARKER}")]


def _content(places: Places, digest: str) -> bytes:
    try:
        content = gzip.decompress(places.incoming(digest).read_bytes())
    except (OSError, EOFError) as error:
        raise ReleaseError(f"The archive {digest[:12]} can't be read: {error}.") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ReleaseError(f"The archive {digest[:12]} was damaged on its way. Deploy again.")
    return content


def _unpack(content: bytes, folder: Path, places: Places, release: str) -> None:
    """Make the folder under another name, and give it its own when all of it is on the disk."""
    say(f"Unpacking release {release}")
    new = folder.with_name(f".{release}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "app").mkdir(parents=True)
    _extract(content, new / "app")
    shutil.copy(places.configuration / "gunicorn.conf.py", new)
    key = identity.environment_key((new / "app/uv.lock").read_bytes())
    (new / "venv").symlink_to(places.home / "venvs" / key)
    (new / "run").symlink_to(places.socket(release).parent)
    # nginx must get through to `run`; the code is nobody's business but the app's.
    new.chmod(0o755)
    _own(new / "app", places.app)
    os.sync()
    durable.rename(new, folder)
    faults.point("unpacked")


def _extract(content: bytes, folder: Path) -> None:
    """Write an archive's files, which must all lie below the folder.

    tarfile's own filters came with Python 3.11.4; Debian 12 has 3.11.2.
    """
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            path, data = PurePosixPath(member.name), archive.extractfile(member)
            if path.is_absolute() or ".." in path.parts or not member.isfile() or data is None:
                raise ReleaseError(f"The archive has {member.name!r}, which is no plain file.")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.read())
            target.chmod(member.mode)


def _install(app: str, parameters: Parameters, folder: Path) -> None:
    venv = (folder / "venv").readlink()
    if (venv / MARKER).exists():
        return
    say("Installing the packages of uv.lock")
    shutil.rmtree(venv, ignore_errors=True)
    options = [] if parameters.build else ["--no-build"]
    result = subprocess.run(
        [
            UV,
            "sync",
            "--locked",
            "--no-install-project",
            "--no-dev",
            "--compile-bytecode",
            *options,
        ],
        cwd=folder / "app",
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/root",
            "UV_PROJECT_ENVIRONMENT": str(venv),
            "UV_CACHE_DIR": "/var/cache/onebox/uv",
            "UV_PYTHON": "/usr/bin/python3",
            "UV_PYTHON_DOWNLOADS": "never",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        raise ReleaseError(f"uv could not install the packages:\n{result.stderr.strip()}")
    (venv / ".lock").unlink(missing_ok=True)  # uv leaves it writable by everybody
    _own(venv, app)
    os.sync()
    durable.write(venv / MARKER, "")
    faults.point("installed")


def _own(folder: Path, app: str) -> None:
    """Let the app read below a folder, and nobody else."""
    os.chown(folder, 0, grp.getgrnam(app).gr_gid)
    folder.chmod(0o750)


def _configure(places: Places, release: str) -> None:
    path = places.environment(release)
    if not path.exists():
        common = (places.configuration / "app.env").read_text()
        durable.write(path, f"{common}ONEBOX_RELEASE={release}\n")
        faults.point("configured")
