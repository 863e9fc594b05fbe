"""A release's environment file, as far as the program must know it."""

from __future__ import annotations

import re

from onebox_release.paths import Places

DATABASE = "DATABASE_URL"


def sets(places: Places, release: str, name: str) -> bool:
    """Return whether a release's environment, or today's secrets, set a variable."""
    texts = (_text(places, release), _secrets(places))
    return any(re.search(rf"^{name}=", text, re.MULTILINE) for text in texts)


def database(places: Places, release: str) -> str:
    """Return a release's database address, without its driver; a secret. Releases of an older
    onebox have none of their own, and use today's."""
    line = re.compile(rf'^{DATABASE}="[^:]*(.*)"$', re.MULTILINE)
    found = line.search(_text(places, release)) or line.search(_secrets(places))
    return found[1] if found else ""


def _text(places: Places, release: str) -> str:
    path = places.environment(release)
    return path.read_text() if path.exists() else ""


def _secrets(places: Places) -> str:
    path = places.configuration / "secrets.env"
    return path.read_text() if path.exists() else ""
