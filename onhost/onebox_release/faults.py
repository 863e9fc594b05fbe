"""Places where a test may stop a deploy dead: after each step that left something behind.

A test writes "kill NAME" or "hang NAME" into FILE, which lies on a file system that a reboot
empties. Nothing else ever does.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

FILE = Path("/run/onebox-fault")
REACHED = Path("/run/onebox-fault-reached")
POINTS = (
    "unpacked", "installed", "configured", "dumped", "migrated", "started", "settled",
    "switched", "joined", "watched", "recorded", "retired", "pruned",
)  # fmt: skip


def point(name: str) -> None:
    """Pass the point `name`, or stop there if a test wants it."""
    if not FILE.exists():
        return
    action, _, wanted = FILE.read_text().strip().partition(" ")
    if wanted == name:
        FILE.unlink()
        REACHED.write_text(name)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
