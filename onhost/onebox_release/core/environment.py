"""Values in a release's environment file that the program needs."""

from __future__ import annotations

import re

from onebox_release.app import App, Release

DATABASE = "DATABASE_URL"


def sets(release: Release, name: str) -> bool:
    """Check whether a release's environment or the current secrets set a variable."""
    texts = (_text(release), _secrets(release.app))
    return any(re.search(rf"^{name}=", text, re.MULTILINE) for text in texts)


def database(release: Release) -> str:
    """Return a release's database URL without its driver; a secret. Releases of an older onebox
    have no URL of their own and use the current one."""
    line = re.compile(rf'^{DATABASE}="[^:]*(.*)"$', re.MULTILINE)
    found = line.search(_text(release)) or line.search(_secrets(release.app))
    return found[1] if found else ""


def _text(release: Release) -> str:
    path = release.environment
    return path.read_text() if path.exists() else ""


def _secrets(app: App) -> str:
    path = app.configuration / "secrets.env"
    return path.read_text() if path.exists() else ""
