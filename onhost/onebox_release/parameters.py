"""How an app is released, as the deployer wrote it down."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from onebox_release.paths import Places

from .errors import ReleaseError

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


def read(places: Places) -> Parameters:
    """Return an app's parameters.

    Raises ReleaseError where the app is unknown here, or was set up by a newer onebox.
    """
    try:
        document = json.loads(places.parameters.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in places.parameters.parent.glob("*.json")))
        raise ReleaseError(
            f"There is no app {places.app!r} on this server. There are: {known or 'none'}."
        ) from None
    if document["schema"] != SCHEMA:
        raise ReleaseError(
            f"{places.parameters} has schema {document['schema']}, this program knows {SCHEMA}."
            " Deploy once with the onebox that wrote it."
        )
    return Parameters(**document["data"])


def health_path(places: Places, parameters: Parameters, release: str) -> str:
    """Return where a release says how it is.

    It was made with that: a later deploy may have brought another path, and failed or been gone
    back from. Releases of an older onebox know none, and are asked as today's.
    """
    environment = places.environment(release)
    text = environment.read_text() if environment.exists() else ""
    found = re.search(r'^ONEBOX_HEALTH="(.+)"$', text, re.MULTILINE)
    return found[1] if found else parameters.health
