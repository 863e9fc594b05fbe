"""Keeps the lock of a whole deploy for as long as the deployer at the other end is alive.

The deployer sends this program over its own SSH connection, on a bare server too, and then a line
a second; the last one is "end". Five seconds without one, or the end of the connection, and the
lock is free. Where the connection was lost before an app was released, its history says so.
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
WAIT = 600  # seconds to wait for others, by default
EVERY = 15  # seconds between two lines that say so
END = b"end"
LOCKED = 3


def main(who: str, wait: float, apps: list[str]) -> int:
    """Take the lock for `who` and keep it; return 3 with the reason where that can't be.

    `apps` are those that the deploy is about to release.
    """
    deployer = _Deployer()
    with opened() as file:
        reason = acquire(file, who, wait, lambda text: print(text, flush=True), deployer.is_alive)
        if not deployer.alive:
            return 0
        print(reason or "locked", flush=True)
        if reason:
            return LOCKED
        begun = time.time()
        while deployer.is_alive(PATIENCE):
            pass
        if not deployer.ended:
            for app in apps:
                with suppress(OSError, ValueError):
                    record_interruption(STATE / app / "history.jsonl", app, who, begun)
    return 0


def opened() -> TextIO:
    """Open the lock's file: for root alone, as whoever can open it can keep deploys away."""
    return os.fdopen(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+")


def acquire(
    file: TextIO,
    who: str,
    wait: float,
    report: Callable[[str], object],
    pause: Callable[[float], bool],
) -> str:
    """Lock the file for `who`, waiting up to `wait` seconds; return why that can't be, or nothing.

    A hold is not waited for: a person ends it. `pause` waits so many seconds, and returns whether
    there is any use in going on.
    """
    deadline, said = time.monotonic() + wait, -float(EVERY)
    while not (reason := held()) and not take(file, who):
        now = time.monotonic()
        reason = _taken(file)
        if now >= deadline:
            return f"{reason}." + (f" Gave up after {wait:.0f} s." if wait else "")
        if now - said >= EVERY:
            report(f"{reason}. Waiting for at most {deadline - now:.0f} s; Ctrl-C ends that.")
            said = now
        if not pause(min(1, deadline - now)):
            return reason
    return reason


@contextmanager
def locked(who: str) -> Iterator[str]:
    """Hold the lock for `who` where nobody has it; or yield the reason why not."""
    with opened() as file:
        yield acquire(file, who, 0, print, lambda _: False)


def switching() -> list[str]:
    """Return the apps whose release is being made or switched."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "onebox-release-*.service"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    names = (line.split()[0] for line in result.stdout.splitlines())
    return [name.removeprefix("onebox-release-").removesuffix(".service") for name in names]


def wait_for_switches(wait: float, report: Callable[[str], object]) -> None:
    """Wait until no app is switching releases, so many seconds at most."""
    deadline, said = time.monotonic() + wait, -float(EVERY)
    while (apps := switching()) and not held() and (left := deadline - time.monotonic()) > 0:
        if time.monotonic() - said >= EVERY:
            report(f"A deploy of {', '.join(apps)} is under way. Waiting for at most {left:.0f} s.")
            said = time.monotonic()
        time.sleep(min(1, left))


def wait_until_free(wait: float, report: Callable[[str], object]) -> None:
    """Wait until no deploy has the lock, so many seconds at most, and take nothing."""
    deadline, said = time.monotonic() + wait, -float(EVERY)
    while (who := holder()) and not held() and (left := deadline - time.monotonic()) > 0:
        if time.monotonic() - said >= EVERY:
            report(f"{who} is deploying to this server. Waiting for at most {left:.0f} s.")
            said = time.monotonic()
        time.sleep(min(1, left))


def holder() -> str | None:
    """Return who has the lock, or None. Only looked at: trying it would keep a deploy out."""
    return (LOCK.read_text().strip() or "somebody") if is_locked(LOCK) else None


def is_locked(path: Path, locks: Path = Path("/proc/locks")) -> bool:
    """Check whether somebody holds a lock, without trying it: that would keep a deploy away."""
    try:
        file = path.stat()
        held = locks.read_text()
    except OSError:
        return False
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    return f" {device} " in held


def take(file: TextIO, who: str) -> bool:
    """Lock the file and write down who has it; tell whether that went well."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.seek(0)
    file.truncate(0)
    file.write(f"{who}\n")
    file.flush()
    return True


def held(*, named: bool = True) -> str:
    """Return why deploys are on hold, and by whom if it is to be named; or nothing."""
    if not HOLD.exists():
        return ""
    hold = json.loads(HOLD.read_text())
    by = f", by {hold['who']}" if named else ""
    return f"Deploys are on hold since {hold['at']}{by}: {hold['why']}"


def duration(seconds: float) -> str:
    """Return a time span as a person reads it."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def record_interruption(history: Path, app: str, who: str, begun: float) -> None:
    """Write to an app's history that a deploy was cut off, unless its release has begun.

    What was released in this run has its line; a release that is under way writes its own.
    """
    if not history.parent.is_dir() or _is_released(history, begun) or _is_under_way(app):
        return
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "deploy", "release": "", "before": "", "who": who, "result": "interrupted",
        "why": f"The deployer's connection was lost before {app} was released. Deploy again.",
        "seconds": round(time.time() - begun, 1),
    }  # fmt: skip
    with os.fdopen(os.open(history, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        torn = size and file.read(1) != b"\n"  # by a power cut
        file.write(b"\n" * bool(torn) + json.dumps(entry).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _is_released(history: Path, begun: float) -> bool:
    lines = history.read_text().splitlines()[-10:] if history.exists() else []
    for line in lines:
        with suppress(ValueError, KeyError):
            if datetime.fromisoformat(json.loads(line)["at"]).timestamp() >= int(begun):
                return True
    return False


def _is_under_way(app: str) -> bool:
    command = ["systemctl", "is-active", "--quiet", f"onebox-release-{app}.service"]
    return subprocess.run(command, check=False, timeout=30).returncode == 0


def _taken(file: TextIO) -> str:
    """Return who has the lock, and for how long."""
    file.seek(0)
    who = file.read().strip() or "Somebody"
    age = max(0, time.time() - os.fstat(file.fileno()).st_mtime)
    return f"{who} has been deploying to this server for {duration(age)}"


class _Deployer:
    """The other end of the connection."""

    def __init__(self) -> None:
        self.heard = time.monotonic()
        self.alive = True
        self.ended = False

    def is_alive(self, seconds: float) -> bool:
        """Wait for the next line, so many seconds at most; tell whether there is any use in going
        on."""
        if select.select([0], [], [], seconds)[0]:
            said = os.read(0, 4096)
            self.heard = time.monotonic()
            self.ended = END in said
            self.alive = bool(said) and not self.ended
        elif time.monotonic() - self.heard >= PATIENCE:
            self.alive = False
        return self.alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
