"""How an app is released, as the deployer wrote it down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onebox_release.errors import ReleaseError

SCHEMA = 1


@dataclass(frozen=True)
class Parameters:
    """What a release needs to know of its app. Times are seconds."""

    domains: list[str]
    health: str
    processes: list[str]
    """Names of the processes beside `web`."""
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
    """Names of the app's unit files; none where an older onebox wrote this down."""
    jobs: list[str] = field(default_factory=list)
    """Names of what runs by a timer."""
    migrate: str | None = None
    """The command that migrates; None where an older onebox wrote this down."""
    migrate_timeout: int = 1800
    hooks: dict[str, str] = field(default_factory=dict)
    """Commands to run before and after a deploy, by event."""
    by_key: bool = False
    """Whether a deploy key asks for it; never in the file."""

    def document(self) -> dict[str, Any]:
        """Return what the deployer writes to the file."""
        data = asdict(self)
        del data["by_key"]
        return {"schema": SCHEMA, "data": data}


def read(path: Path) -> Parameters:
    """Return an app's parameters.

    Raises ReleaseError where the app is unknown here, or was set up by a newer onebox.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.json")))
        raise ReleaseError(
            f"There is no app {path.stem!r} on this server. There are: {known or 'none'}."
        ) from None
    if document["schema"] != SCHEMA:
        raise ReleaseError(
            f"{path} has schema {document['schema']}, this program knows {SCHEMA}."
            " Deploy once with the onebox that wrote it."
        )
    return Parameters(**document["data"])
