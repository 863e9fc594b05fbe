"""What makes a release the same: what it runs, and what it runs with."""

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
    """Return ARTIFACT-CONFIGURATION for an archive of this SHA-256 and today's configuration."""
    return app.release(f"{artifact(digest)}-{configuration(app)}")


def artifact(digest: str) -> str:
    """Return the first 12 digits of SHA-256 over content, Python's version and architecture.

    The archive holds the lock file, so the digest of its content covers it.
    """
    return _digest(digest, *_platform())[:12]


def archived(release: Release) -> str | None:
    """Return the SHA-256 of the archive that a release was made from; None where it is gone."""
    archives = _archives(release.app)
    return next((each for each in archives if artifact(each) == release.artifact), None)


def check_unique(app: App, digest: str) -> None:
    """Raise RefusedError where another archive on the server becomes the same release as this one.

    Two archives with the same 12 digits can be searched for: 2^24 tries find a pair. The archives
    of all kept releases are on the server.
    """
    for each in _archives(app):
        if each != digest and artifact(each) == artifact(digest):
            raise RefusedError(
                f"Archives {digest} and {each} have the same release id, {artifact(digest)}."
                " This does not happen by chance: find out who made them, then change a file of"
                " the app"
            )


def _archives(app: App) -> Iterator[str]:
    """Yield the SHA-256 of each archive that is kept on the server."""
    for path in (app.state / "incoming").glob("*.tar.gz"):
        yield path.name.removesuffix(".tar.gz")


def environment_key(pins: bytes, app: App) -> str:
    """Return the name of the virtual environment that a file of pinned packages makes here.

    32 digits, so that nobody finds two files of pins with the same name: apps' releases share
    environments.
    """
    _, environments = _rebuilds(app)
    again = [str(environments)] if environments else []
    return _digest(hashlib.sha256(pins).hexdigest(), *_platform(), *again)[:32]


def configuration(app: App) -> str:
    """Return 8 digits of a keyed hash over environment, secrets, Gunicorn's file and the units.

    Keyed, because it is part of a public path: secrets could be guessed against a plain hash.
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
    """Return the files that a release is started from."""
    return [app.configuration / name for name in CONFIGURATION] + app.templates()


def renew(app: App, *, environment: bool) -> None:
    """Have the same archive and configuration become another release, with its virtual
    environment or not: the one before can't be mended under those whom it serves."""
    releases, environments = _rebuilds(app)
    durable.write(app.rebuilds, f"{releases + 1} {environments + environment}")


def _rebuilds(app: App) -> tuple[int, int]:
    """Return how often a release, and a virtual environment, was made anew from the same."""
    if not app.rebuilds.exists():
        return 0, 0
    releases, environments = app.rebuilds.read_text().split()
    return int(releases), int(environments)


def twin(release: Release) -> Release:
    """Return a release's twin, which serves while the release is started anew."""
    return release.app.release(f"{release}{TWIN}")


def original(release: Release) -> Release:
    """Return the release that a twin stands in for; any other itself."""
    return release.app.release(release.id.removesuffix(TWIN))


def _platform() -> tuple[str, str]:
    major, minor, _ = platform.python_version_tuple()
    return f"{major}.{minor}", platform.machine()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _key(path: Path) -> bytes:
    """Return this server's key, made at its first use.

    The whole key gets its name by a link, which fails if another process was first: so nobody
    reads half a key, and all read the same.
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
