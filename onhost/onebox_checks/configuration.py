"""What is to be looked at and who is to be told, as the deployer wrote it down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = Path("/etc/onebox/watch/settings.json")
MANIFEST = FILE.with_name("manifest")
SCHEMA = 1


@dataclass(frozen=True)
class Email:
    """A mail server that the user has an account on."""

    to: list[str]
    sender: str
    server: str
    port: int
    security: str
    """"starttls", "tls" or "none"."""
    user: str | None
    password: str | None


@dataclass(frozen=True)
class Configuration:
    """The server's name for its owner, what should be up, and who is told. Times are seconds."""

    host: str
    every: int
    ping: str | None
    units: list[str]
    apps: dict[str, list[str]]
    """Its apps, each with the units that it has for itself."""
    authority: str
    """The ACME directory: it has the time, too."""
    authority_ca: str | None
    deploys: bool
    """Whether deploys that went well are told."""
    hourly: int
    """How many messages an hour are bearable."""
    email: Email | None
    webhook: str | None
    command: str | None
    restart: str | None = None
    """When what runs on replaced libraries is restarted, as systemd's OnCalendar= has it."""

    def document(self) -> dict[str, Any]:
        """Return what the deployer writes to the file."""
        return {"schema": SCHEMA, "data": asdict(self)}


def read(path: Path = FILE) -> Configuration:
    """Return what the deployer wrote. Raises OSError where nobody but root may look."""
    document: dict[str, Any] = json.loads(path.read_text())
    if document["schema"] != SCHEMA:
        raise ValueError(f"{path} has schema {document['schema']}, this program knows {SCHEMA}.")
    data = document["data"]
    email = data.pop("email")
    return Configuration(**data, email=Email(**email) if email else None)
