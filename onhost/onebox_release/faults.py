"""Points where a test can kill or hang a deploy: after each step that leaves something behind.

A test writes "kill NAME" or "hang NAME" to FILE, on a tmpfs; a hang lasts until the file is gone.
Nothing else writes it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

FILE = Path("/run/onebox-fault")
REACHED = Path("/run/onebox-fault-reached")
POINTS = (
    "pruned", "unpacked", "installed", "configured", "dumped", "migrated", "started", "settled",
    "switched", "joined", "watched", "rolled back", "recorded", "retired",
)  # fmt: skip
# Points of an app's removal.
REMOVAL = ("stopped", "copied", "unserved", "dropped", "deleted")


def point(name: str) -> None:
    """Pass the point `name`, or stop there if a test asks for it."""
    if not FILE.exists():
        return
    action, _, target = FILE.read_text().strip().partition(" ")
    if target != name:
        return
    REACHED.write_text(name)
    if action == "kill":
        FILE.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while FILE.exists():
        time.sleep(0.05)
