"""The parameters of an app's releases, as the deployer wrote them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onebox_release.errors import ReleaseError

SCHEMA = 1


@dataclass(frozen=True)
class Parameters:
    """The parameters of an app. Times are in seconds."""

    domains: list[str]
    health: str
    processes: list[str]
    """Names of the processes other than `web`."""
    database: str
    """"local", "external" or "none"."""
    migrates: bool
    migrations_compatible: bool
    build: bool
    start_timeout: int
    settle: int
    watch: int
    drain: int
    keep_releases: int
    units: list[str] = field(default_factory=list)
    """Names of the app's unit files; empty in files of an older onebox."""
    timers: list[str] = field(default_factory=list)
    """Names of the app's timers."""
    migrate: str | None = None
    """The migration command; None in files of an older onebox."""
    migrate_timeout: int = 1800
    hooks: dict[str, str] = field(default_factory=dict)
    """Hooks: a command for each event."""
    by_key: bool = False
    """Whether a deploy key submitted the archive; never in the file."""

    def document(self) -> dict[str, Any]:
        """Return what the deployer writes to the file."""
        data = asdict(self)
        del data["by_key"]
        return {"schema": SCHEMA, "data": data}


def read(path: Path) -> Parameters:
    """Return an app's parameters.

    Raises ReleaseError if the server has no such app, or a newer onebox wrote the file.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.json")))
        raise ReleaseError(
            f"This server has no app {path.stem!r}. Its apps: {known or 'none'}."
        ) from None
    if document["schema"] != SCHEMA:
        raise ReleaseError(
            f"{path} has schema {document['schema']}, expected {SCHEMA}."
            " Deploy once with the onebox that wrote it."
        )
    data = document["data"]
    if "jobs" in data:  # of an older onebox
        data["timers"] = data.pop("jobs")
    return Parameters(**data)
