"""A twin of a release, with the same files and environment, serves while the release restarts."""

from __future__ import annotations

import shutil

from onebox_release.app import Release
from onebox_release.core import identity, release_units
from onebox_release.host import durable


def create(release: Release) -> Release:
    """Create and return the twin of a release."""
    twin = identity.twin(release)
    new = twin.folder.with_name(f".{twin}.new")
    remove(release)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o755)
    for part in ("app", "venv", "gunicorn.conf.py", "static"):
        (new / part).symlink_to(f"../{release}/{part}")
    (new / "run").symlink_to(twin.socket.parent)
    durable.rename(new, twin.folder)
    release_units.copy_for(release, twin)
    environment = release.environment.read_text()
    durable.write(twin.environment, f"{environment}ONEBOX_RELEASE={twin}\n")
    return twin


def remove(release: Release) -> None:
    """Delete a release's twin, if it exists."""
    twin = identity.twin(release)
    shutil.rmtree(twin.folder, ignore_errors=True)
    twin.environment.unlink(missing_ok=True)
    release_units.remove(twin)
