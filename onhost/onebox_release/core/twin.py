"""A stand-in for a release, of the same files and environment, while that is started anew."""

from __future__ import annotations

import shutil

from onebox_release.core import identity, release_units
from onebox_release.host import durable
from onebox_release.paths import Places


def make(places: Places, release: str) -> str:
    """Make the twin of a release; return its name."""
    name = identity.twin(release)
    folder = places.release(name)
    new = folder.with_name(f".{name}.new")
    remove(places, release)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o755)
    for part in ("app", "venv", "gunicorn.conf.py", "static"):
        (new / part).symlink_to(f"../{release}/{part}")
    (new / "run").symlink_to(places.socket(name).parent)
    durable.rename(new, folder)
    release_units.make_twin(places, release, name)
    environment = places.environment(release).read_text()
    durable.write(places.environment(name), f"{environment}ONEBOX_RELEASE={name}\n")
    return name


def remove(places: Places, release: str) -> None:
    """Remove a release's twin, if it is there."""
    name = identity.twin(release)
    shutil.rmtree(places.release(name), ignore_errors=True)
    places.environment(name).unlink(missing_ok=True)
    release_units.remove(places, name)
