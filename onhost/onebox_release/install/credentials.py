"""Credentials for the installation of packages: passwords of private indexes, a key for git.

They arrive on standard input, are stored in a file in tmpfs until the deploy's unit has started,
and are then only in that process, uv's environment and an SSH agent.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from onebox_release.app import App

VARIABLE = "ONEBOX_CREDENTIALS"  # path of that file, for the unit


@dataclass(frozen=True)
class Credentials:
    """Environment variables for uv, and a private SSH key."""

    environment: dict[str, str] = field(default_factory=dict, repr=False)
    key: str = field(default="", repr=False)

    def hidden_in(self, text: str) -> str:
        """Return a text with the variables' values masked."""
        for value in sorted(filter(None, self.environment.values()), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def store(app: App, document: str) -> Path:
    """Store credentials for the unit that this process will start; return their path."""
    path = app.credentials(os.getpid())
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(document)
    return path


def take() -> Credentials:
    """Return the credentials stored for this unit, if any, and delete them."""
    path = Path(os.environ.pop(VARIABLE, "/nonexistent"))
    try:
        document = path.read_text()
    except FileNotFoundError:
        return Credentials()
    path.unlink()
    return Credentials(**json.loads(document))
