"""The open problems that onebox-checks found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onebox_release.host import untrusted

FILE = Path("/var/lib/onebox-checks/state.json")
SPARE = Path("/run/onebox-checks/state.json")  # in tmpfs; newer, while the disk is full


def newest(file: Path = FILE, spare: Path = SPARE) -> Path:
    """Return the file with the latest state."""
    return spare if spare.exists() else file


def read(path: Path | None = None) -> dict[str, Any] | None:
    """Return when the checks last ran (seconds of the epoch) and the open problems; None if
    never."""
    try:
        # The checks' unprivileged user owns the folder.
        data = json.loads(untrusted.read(path or newest()))["data"]
    except (OSError, ValueError, KeyError):
        return None
    keys = ("key", "what", "do", "since")
    return {
        "at": data["at"],
        "open": [{name: problem[name] for name in keys} for problem in data["open"].values()],
    }
