"""A release's id: a hash of its code, packages and configuration."""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import secrets
from collections.abc import Iterator
from pathlib import Path

from onebox_release.app import App, Release
from onebox_release.errors import RefusedError
from onebox_release.host import durable

TWIN = ".twin"
CONFIGURATION = ("app.env", "generated.env", "secrets.env", "gunicorn.conf.py", "static")


def release_of(app: App, digest: str) -> Release:
    """Return the release of this archive (SHA-256) and the current configuration."""
    return app.release(f"{artifact(digest)}-{configuration(app)}")


def artifact(digest: str) -> str:
    """Return the first 12 digits of SHA-256 over content, Python's version and architecture.

    The archive contains the lock file, so its digest covers the packages.
    """
    return _digest(digest, *_platform())[:12]


def archived(release: Release) -> str | None:
    """Return the SHA-256 of a release's archive; None if the server no longer has it."""
    archives = _archives(release.app)
    return next((each for each in archives if artifact(each) == release.artifact), None)


def check_unique(app: App, digest: str) -> None:
    """Raise RefusedError if another archive on the server has the same release id.

    A pair with the same 12 digits can be found in 2^24 tries. The archives of all kept releases are
    on the server.
    """
    for each in _archives(app):
        if each != digest and artifact(each) == artifact(digest):
            raise RefusedError(
                f"Archives {digest} and {each} have the same release id, {artifact(digest)}."
                " This does not happen by chance: find out who made them, then change a file of"
                " the app."
            )


def _archives(app: App) -> Iterator[str]:
    """Yield the SHA-256 of each archive on the server."""
    for path in (app.state / "incoming").glob("*.tar.gz"):
        yield path.name.removesuffix(".tar.gz")


def environment_key(pins: bytes, app: App) -> str:
    """Return the name of the virtual environment for a file of pinned packages.

    32 digits, so that nobody can find two files with the same name: releases share environments.
    """
    _, environments = _rebuilds(app)
    again = [str(environments)] if environments else []
    return _digest(hashlib.sha256(pins).hexdigest(), *_platform(), *again)[:32]


def configuration(app: App) -> str:
    """Return 8 digits of a keyed hash over environment, secrets, Gunicorn's file and the units.

    Keyed, because it is part of a public path: a plain hash would allow guessing secrets.
    """
    mac = hmac.new(_key(app.key), digestmod=hashlib.sha256)
    releases, _ = _rebuilds(app)
    if releases:
        mac.update(str(releases).encode())
    for path in files(app):
        content = path.read_bytes()
        mac.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return mac.hexdigest()[:8]


def files(app: App) -> list[Path]:
    """Return the files of the configuration."""
    return [app.configuration / name for name in CONFIGURATION] + app.templates()


def renew(app: App, *, environment: bool) -> None:
    """Count a forced rebuild: the same archive and configuration then get a new release id, and
    with `environment` a new virtual environment. A live release cannot be repaired in place."""
    releases, environments = _rebuilds(app)
    durable.write(app.rebuilds, f"{releases + 1} {environments + environment}")


def _rebuilds(app: App) -> tuple[int, int]:
    """Return the number of forced rebuilds of releases and of environments."""
    if not app.rebuilds.exists():
        return 0, 0
    releases, environments = app.rebuilds.read_text().split()
    return int(releases), int(environments)


def twin(release: Release) -> Release:
    """Return a release's twin, which serves while the release restarts."""
    return release.app.release(f"{release}{TWIN}")


def original(release: Release) -> Release:
    """Return the release of a twin; any other release itself."""
    return release.app.release(release.id.removesuffix(TWIN))


def _platform() -> tuple[str, str]:
    major, minor, _ = platform.python_version_tuple()
    return f"{major}.{minor}", platform.machine()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _key(path: Path) -> bytes:
    """Return this server's key; create it at first use.

    The complete key is linked to its name, which fails if another process was first: so no process
    reads half a key, and all read the same one.
    """
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            durable.sync(file)
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
            durable.sync_folder(path.parent)
    return path.read_bytes()
