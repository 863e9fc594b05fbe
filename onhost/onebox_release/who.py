"""Who asked for a deploy or a rollback."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from . import lock

KEY = "A deploy key of"  # before the app's name
VARIABLE = "ONEBOX_WHO"  # carries the answer into the unit that does the work


def who() -> str:
    """Return who holds the server's lock, as a deployer does, or who runs this by hand."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if is_locked(lock.LOCK):
        return lock.LOCK.read_text().strip()
    return os.environ.get("SUDO_USER") or getpass.getuser()


def is_locked(path: Path, locks: Path = Path("/proc/locks")) -> bool:
    """Tell whether somebody holds a lock, without trying it: that would keep a deploy away."""
    try:
        file = path.stat()
        held = locks.read_text()
    except OSError:
        return False
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    return f" {device} " in held
