"""A release's environment file, as far as the program must know it."""

from __future__ import annotations

import re

from onebox_release.app import App

DATABASE = "DATABASE_URL"


def sets(app: App, release: str, name: str) -> bool:
    """Return whether a release's environment, or today's secrets, set a variable."""
    texts = (_text(app, release), _secrets(app))
    return any(re.search(rf"^{name}=", text, re.MULTILINE) for text in texts)


def database(app: App, release: str) -> str:
    """Return a release's database address, without its driver; a secret. Releases of an older
    onebox have none of their own, and use today's."""
    line = re.compile(rf'^{DATABASE}="[^:]*(.*)"$', re.MULTILINE)
    found = line.search(_text(app, release)) or line.search(_secrets(app))
    return found[1] if found else ""


def _text(app: App, release: str) -> str:
    path = app.environment(release)
    return path.read_text() if path.exists() else ""


def _secrets(app: App) -> str:
    path = app.configuration / "secrets.env"
    return path.read_text() if path.exists() else ""
