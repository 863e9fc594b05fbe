"""Places where a test may stop a deploy dead: after each step that left something behind.

A test writes "kill NAME" or "hang NAME" into FILE, which lies on a file system that a reboot
empties; a hang lasts until the file is gone. Nothing else ever writes it.
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
# Those of an app's removal.
REMOVAL = ("stopped", "copied", "unserved", "dropped", "deleted")


def point(name: str) -> None:
    """Pass the point `name`, or stop there if a test wants it."""
    if not FILE.exists():
        return
    action, _, wanted = FILE.read_text().strip().partition(" ")
    if wanted != name:
        return
    REACHED.write_text(name)
    if action == "kill":
        FILE.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while FILE.exists():
        time.sleep(0.05)
