"""Hold the server's deploy lock while the deployer at the other end of the connection is alive.

The deployer sends this program over its SSH connection, to a bare server too, then a line a second
as a heartbeat, and "end" last. The lock is released 5 seconds after the last heartbeat, or when the
connection closes. If the connection is lost before an app is released, the app's history records
it.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

LOCK = Path("/run/onebox.lock")
HOLD = Path("/var/lib/onebox/hold.json")
STATE = Path("/var/lib/onebox")
PATIENCE = 5  # seconds without a heartbeat
WAIT = 600  # seconds to wait for another deploy, by default
EVERY = 15  # seconds between two messages about waiting
END = b"end"
LOCKED = 3


def main(who: str, wait: float, apps: list[str]) -> int:
    """Take the lock for `who` and hold it; print the reason and return 3 if it cannot be taken.

    `apps` are those that the deploy is about to release.
    """
    deployer = _Deployer()
    with open_lock() as file:
        reason = acquire(file, who, wait, lambda text: print(text, flush=True), deployer.is_alive)
        if not deployer.alive:
            return 0
        print(reason or "locked", flush=True)
        if reason:
            return LOCKED
        started = time.time()
        while deployer.is_alive(PATIENCE):
            pass
        if not deployer.ended:
            for app in apps:
                with suppress(OSError, ValueError):
                    record_interruption(STATE / app / "history.jsonl", app, who, started)
    return 0


def open_lock() -> TextIO:
    """Open the lock file, which only root can: whoever opens it can block deploys."""
    return os.fdopen(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+")


def acquire(
    file: TextIO,
    who: str,
    wait: float,
    report: Callable[[str], object],
    pause: Callable[[float], bool],
) -> str:
    """Lock the file for `who`, waiting up to `wait` seconds; return why it failed, or "".

    A hold fails at once: only an administrator ends it. `pause` waits that many seconds, and
    returns whether to go on waiting.
    """
    deadline, reported = time.monotonic() + wait, -float(EVERY)
    while not (reason := hold_reason()) and not try_lock(file, who):
        now = time.monotonic()
        reason = _describe_holder(file)
        if now >= deadline:
            return f"{reason}." + (f" Gave up after {wait:.0f} s." if wait else "")
        if now - reported >= EVERY:
            report(f"{reason}. Waiting for at most {deadline - now:.0f} s; Ctrl-C to stop.")
            reported = now
        if not pause(min(1, deadline - now)):
            return reason
    return reason


@contextmanager
def locked(who: str) -> Iterator[str]:
    """Hold the lock for `who` if it is free; yield the reason if it is not."""
    with open_lock() as file:
        yield acquire(file, who, 0, print, lambda _: False)


def switching() -> list[str]:
    """Return the apps with a deploy, rollback or restart under way."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "onebox-release-*.service"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    names = (line.split()[0] for line in result.stdout.splitlines())
    return [name.removeprefix("onebox-release-").removesuffix(".service") for name in names]


def wait_for_switches(wait: float, report: Callable[[str], object]) -> None:
    """Wait until no app is switching releases, for at most `wait` seconds."""
    deadline, reported = time.monotonic() + wait, -float(EVERY)
    while (apps := switching()) and not hold_reason() and (left := deadline - time.monotonic()) > 0:
        if time.monotonic() - reported >= EVERY:
            report(f"A deploy of {', '.join(apps)} is under way. Waiting for at most {left:.0f} s.")
            reported = time.monotonic()
        time.sleep(min(1, left))


def wait_until_free(wait: float, report: Callable[[str], object]) -> None:
    """Wait until the lock is free, for at most `wait` seconds, without taking it."""
    deadline, reported = time.monotonic() + wait, -float(EVERY)
    while (who := holder()) and not hold_reason() and (left := deadline - time.monotonic()) > 0:
        if time.monotonic() - reported >= EVERY:
            report(f"{who} is deploying to this server. Waiting for at most {left:.0f} s.")
            reported = time.monotonic()
        time.sleep(min(1, left))


def holder() -> str | None:
    """Return the lock's holder, or None. Trying to lock it could fail a deploy."""
    return (LOCK.read_text().strip() or "an unknown user") if is_locked(LOCK) else None


def is_locked(path: Path, locks_file: Path = Path("/proc/locks")) -> bool:
    """Check whether a file is locked, without trying it: that could fail a deploy."""
    try:
        file = path.stat()
        locks_text = locks_file.read_text()
    except OSError:
        return False
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    return f" {device} " in locks_text


def try_lock(file: TextIO, who: str) -> bool:
    """Lock the file and write its holder to it; return whether it was free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.seek(0)
    file.truncate(0)
    file.write(f"{who}\n")
    file.flush()
    return True


def hold_reason(*, named: bool = True) -> str:
    """Return why deploys are on hold, with who set it if `named`; "" if they are not."""
    if not HOLD.exists():
        return ""
    hold = json.loads(HOLD.read_text())
    by = f", by {hold['who']}" if named else ""
    return f"Deploys are on hold since {hold['at']}{by}: {hold['why']}"


def duration(seconds: float) -> str:
    """Return a time span in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def record_interruption(history: Path, app: str, who: str, started: float) -> None:
    """Record in an app's history that a deploy was interrupted, unless its release has begun.

    A release of this run has its own entry; one that is under way writes its own.
    """
    if not history.parent.is_dir() or _is_released(history, started) or _is_under_way(app):
        return
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "deploy", "release": "", "before": "", "who": who, "result": "interrupted",
        "why": f"The deployer's connection was lost before {app} was released. Deploy again.",
        "seconds": round(time.time() - started, 1),
    }  # fmt: skip
    with os.fdopen(os.open(history, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        torn = size and file.read(1) != b"\n"  # by a power cut
        file.write(b"\n" * bool(torn) + json.dumps(entry).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _is_released(history: Path, started: float) -> bool:
    lines = history.read_text().splitlines()[-10:] if history.exists() else []
    for line in lines:
        with suppress(ValueError, KeyError):
            if datetime.fromisoformat(json.loads(line)["at"]).timestamp() >= int(started):
                return True
    return False


def _is_under_way(app: str) -> bool:
    command = ["systemctl", "is-active", "--quiet", f"onebox-release-{app}.service"]
    return subprocess.run(command, check=False, timeout=30).returncode == 0


def _describe_holder(file: TextIO) -> str:
    """Return the lock's holder, and for how long it has had the lock."""
    file.seek(0)
    who = file.read().strip() or "An unknown user"
    age = max(0, time.time() - os.fstat(file.fileno()).st_mtime)
    return f"{who} has held this server's deploy lock for {duration(age)}"


class _Deployer:
    """The other end of the connection."""

    def __init__(self) -> None:
        self.last_heartbeat = time.monotonic()
        self.alive = True
        self.ended = False

    def is_alive(self, seconds: float) -> bool:
        """Wait up to `seconds` for the next line; return whether the deployer is alive."""
        if select.select([0], [], [], seconds)[0]:
            data = os.read(0, 4096)
            self.last_heartbeat = time.monotonic()
            self.ended = END in data
            self.alive = bool(data) and not self.ended
        elif time.monotonic() - self.last_heartbeat >= PATIENCE:
            self.alive = False
        return self.alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
