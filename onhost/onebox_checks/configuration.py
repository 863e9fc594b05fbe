"""Settings of the checks, as the deployer wrote them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = Path("/etc/onebox/checks/settings.json")
MANIFEST = FILE.with_name("manifest")
SCHEMA = 1


@dataclass(frozen=True)
class Email:
    """An account on a mail server."""

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
    """The server's host name, what should be up, and the channels. Times are in seconds."""

    host: str
    every: int
    ping: str | None
    units: list[str]
    apps: dict[str, list[str]]
    """Its apps, each with its own units."""
    authority: str
    """The URL of the ACME directory, which also gives the time."""
    authority_ca: str | None
    deploys: bool
    """Whether successful deploys are reported."""
    hourly: int
    """Maximum number of messages per hour."""
    email: Email | None
    webhook: str | None
    command: str | None
    restart: str | None = None
    """When services on replaced libraries are restarted, in OnCalendar= syntax."""

    def document(self) -> dict[str, Any]:
        """Return what the deployer writes to the file."""
        return {"schema": SCHEMA, "data": asdict(self)}


def read(path: Path = FILE) -> Configuration:
    """Return the settings. Raises OSError if only root can read them."""
    document: dict[str, Any] = json.loads(path.read_text())
    if document["schema"] != SCHEMA:
        raise ValueError(f"{path} has schema {document['schema']}, expected {SCHEMA}.")
    data = document["data"]
    email = data.pop("email")
    return Configuration(**data, email=Email(**email) if email else None)
