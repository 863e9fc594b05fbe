"""What only the installation of packages gets: passwords of private indexes, a key for git.

They come on standard input, wait in a file in memory until the deploy's unit has started, and are
then in that process, uv's environment and an SSH agent alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from .places import Places


@dataclass(frozen=True)
class Credentials:
    """Variables for uv, and a private key."""

    environment: dict[str, str] = field(default_factory=dict, repr=False)
    key: str = field(default="", repr=False)

    def hidden_in(self, text: str) -> str:
        """Return a text without them."""
        for value in sorted(filter(None, self.environment.values()), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def put(places: Places, document: str) -> None:
    """Lay credentials ready for the unit."""
    places.credentials.unlink(missing_ok=True)
    descriptor = os.open(places.credentials, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(document)


def take(places: Places) -> Credentials:
    """Return what was laid ready, if anything was, and leave nothing behind."""
    try:
        document = places.credentials.read_text()
    except FileNotFoundError:
        return Credentials()
    places.credentials.unlink()
    return Credentials(**json.loads(document))
