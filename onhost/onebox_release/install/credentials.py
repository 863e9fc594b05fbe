"""What only the installation of packages gets: passwords of private indexes, a key for git.

They come on standard input, wait in a file in memory until the deploy's unit has started, and are
then in that process, uv's environment and an SSH agent alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from onebox_release.app import App

VARIABLE = "ONEBOX_CREDENTIALS"  # where they wait, for the unit


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


def store(app: App, document: str) -> Path:
    """Lay credentials ready for the unit that this process is about to start; return where."""
    path = app.credentials(os.getpid())
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(document)
    return path


def take() -> Credentials:
    """Return what was laid ready for this unit, if anything was, and leave nothing behind."""
    path = Path(os.environ.pop(VARIABLE, "/nonexistent"))
    try:
        document = path.read_text()
    except FileNotFoundError:
        return Credentials()
    path.unlink()
    return Credentials(**json.loads(document))
