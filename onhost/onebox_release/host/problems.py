"""What the server found when it looked at itself: onebox-watch keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onebox_release.host import untrusted

FILE = Path("/var/lib/onebox-watch/state.json")
SPARE = Path("/run/onebox-watch/state.json")  # in memory: newer, while the disk takes nothing


def newest(file: Path = FILE, spare: Path = SPARE) -> Path:
    """Return where the last look was written down."""
    return spare if spare.exists() else file


def read(path: Path | None = None) -> dict[str, Any] | None:
    """Return when it looked last (seconds of the epoch) and what is wrong; None if never."""
    try:
        # Its folder is the checks' user's, who has no other rights.
        data = json.loads(untrusted.read(path or newest()))["data"]
    except (OSError, ValueError, KeyError):
        return None
    told = ("key", "what", "do", "since")
    return {
        "at": data["at"],
        "open": [{name: problem[name] for name in told} for problem in data["open"].values()],
    }
