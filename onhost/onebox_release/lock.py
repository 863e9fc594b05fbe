"""Keeps the lock of a whole deploy for as long as the deployer at the other end is alive.

The deployer sends this program over its own SSH connection, on a bare server too, and then a line
a second. Five seconds without one, or the end of the connection, and the lock is free.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOCK = Path("/run/onebox.lock")
HOLD = Path("/var/lib/onebox/hold.json")
PATIENCE = 5  # seconds without a heartbeat
LOCKED = 3


def main(who: str) -> int:
    """Take the lock for `who` and keep it; return 3 with the reason where that can't be."""
    with locked(who) as reason:
        print(reason or "locked", flush=True)
        while not reason and heartbeat():
            pass
    return LOCKED if reason else 0


@contextmanager
def locked(who: str) -> Iterator[str]:
    """Hold the lock for `who`, or yield the reason why that can't be."""
    if reason := held() or switching():
        yield reason
        return
    # For root alone: who can open it, could lock it, and keep deploys away.
    with os.fdopen(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        if take(file, who):
            yield ""
        else:
            file.seek(0)
            yield f"{file.read().strip() or 'Somebody'} is deploying to this server."


def holder() -> str | None:
    """Return who has the lock, or None. Only looked at: trying it would keep a deploy out."""
    if not LOCK.exists():
        return None
    inode = f":{LOCK.stat().st_ino} "
    locks = Path("/proc/locks").read_text().splitlines()
    taken = any("FLOCK" in line and inode in line for line in locks)
    return (LOCK.read_text().strip() or "somebody") if taken else None


def take(file: TextIO, who: str) -> bool:
    """Lock the file and write down who has it; tell whether that went well."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.truncate(0)
    file.write(f"{who}\n")
    file.flush()
    return True


def held() -> str:
    """Return why deploys are on hold, or nothing."""
    if not HOLD.exists():
        return ""
    hold = json.loads(HOLD.read_text())
    return f"Deploys are on hold since {hold['at']}, by {hold['who']}: {hold['why']}"


def switching() -> str:
    """Return which switch is under way, or nothing; its deployer may be long gone."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "onebox-release-*.service"]
    units = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return f"{units[0]} is still switching releases. Wait for it." if units else ""


def heartbeat() -> bool:
    """Wait for the deployer's next line; tell whether it came in time."""
    ready, _, _ = select.select([0], [], [], PATIENCE)
    return bool(ready and os.read(0, 4096))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
