"""A stand-in for a release, of the same files and environment, while that is started anew."""

from __future__ import annotations

import shutil

from onebox_release.app import App
from onebox_release.core import identity, release_units
from onebox_release.host import durable


def make(app: App, release: str) -> str:
    """Make the twin of a release; return its name."""
    name = identity.twin(release)
    folder = app.release(name)
    new = folder.with_name(f".{name}.new")
    remove(app, release)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o755)
    for part in ("app", "venv", "gunicorn.conf.py", "static"):
        (new / part).symlink_to(f"../{release}/{part}")
    (new / "run").symlink_to(app.socket(name).parent)
    durable.rename(new, folder)
    release_units.make_twin(app, release, name)
    environment = app.environment(release).read_text()
    durable.write(app.environment(name), f"{environment}ONEBOX_RELEASE={name}\n")
    return name


def remove(app: App, release: str) -> None:
    """Remove a release's twin, if it is there."""
    name = identity.twin(release)
    shutil.rmtree(app.release(name), ignore_errors=True)
    app.environment(name).unlink(missing_ok=True)
    release_units.remove(app, name)
