"""The command onebox-submit: everything that a deploy key can do.

sshd runs it for every request with such a key, whatever command is requested. Its first argument is
the key's fingerprint. The others, the key's apps when its connection started, are ignored: see
keys.py.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from onebox_release.app import PROGRAM, App
from onebox_release.core import identity, requester
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import lock, resources
from onebox_release.install.archive import BY_KEY, CHUNK, check, check_size
from onebox_release.report import document, exit_code
from onebox_release.shell import keys, status

PATIENCE = 600  # seconds for an archive to arrive: 128 MiB at 1.8 Mbit/s
STALLED = 30  # seconds without a byte; TCP retransmits sooner on a bad line
STATUS_WITHIN = 60  # seconds for the client to read the response to `status`
SLOTS = 4  # concurrent uploads for one app: 512 MiB at most
SPACE_EVERY = 4 << 20  # bytes between two checks of the disk
SUBMIT = re.compile(r"submit ([a-z0-9-]+) ([0-9a-f]{64})(?: wait=([0-9]{1,4}))?", re.ASCII)
STATUS = re.compile(r"status ([a-z0-9-]+)", re.ASCII)


class Buffered(Protocol):
    """A file that returns the bytes it has, without waiting for more."""

    def read1(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


def main() -> int:
    """Serve the connection's request and return the exit code."""
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    return exit_code(lambda: serve(asked, sys.argv[1] if len(sys.argv) > 1 else ""))


def serve(request: str, key: str) -> int:
    """Serve one request for one of the key's apps. Raises RefusedError for any other."""
    apps = keys.apps(key)
    if not apps:
        disconnect(os.getppid(), int(os.environ.get("SUDO_UID", 0)))
        raise RefusedError("This key is no longer authorised on this server.")
    asked = SUBMIT.fullmatch(request) or STATUS.fullmatch(request)
    if not asked or asked[1] not in apps:
        raise RefusedError(
            "This key may `submit APP DIGEST [wait=SECONDS]`, with an archive on standard input,"
            f" and `status APP`. APP is one of: {', '.join(apps)}."
        )
    app = App(asked[1])
    app.parameters  # noqa: B018 - a removed app fails before anything is received
    if asked.re is STATUS:
        signal.alarm(STATUS_WITHIN)  # in case the client does not read the response
        print(document(app.name, status.for_key(app), host=""))
        return 0
    # Before any lock, so that a slow upload blocks nobody.
    with received(os.fdopen(0, "rb", closefd=False), app, asked[2]) as slot:
        keys.check(key, app.name)
        # Without the server's lock: the unit serialises deploys of this app, and deploys of other
        # apps do not conflict.
        wait = asked[3] or str(lock.WAIT)
        command = [PROGRAM, "deploy", app.name, asked[2], "--by-key", key, "--upload", slot]
        command += ["--wait", wait]
        environment = {**os.environ, requester.VARIABLE: f"{requester.KEY} {app.name}"}
        return subprocess.run(command, check=False, env=environment).returncode


def disconnect(process: int, user: int) -> None:
    """End the connection of a process by terminating its ancestors of this user, unless root's."""
    while process > 1:
        text = Path(f"/proc/{process}/status").read_text()
        found = {
            name: int(id_) for name, id_ in re.findall(r"^(PPid|Uid):\s+(\d+)", text, re.MULTILINE)
        }
        if found["Uid"] == user != 0:
            os.kill(process, signal.SIGTERM)
        process = found["PPid"]


def move_upload(app: App, slot: str, digest: str) -> None:
    """Move an archive to where it is deployed from. Only the deploy calls this, when it starts, so
    no more archives wait than there are slots.

    Raises ReleaseError if the archive is gone because its receiver was killed, RefusedError if
    another archive has the same release id.
    """
    identity.check_unique(app, digest)
    target = app.incoming(digest)
    # Older than administrators' uploads that wait there for their deploys: see history.prune.
    age = target.stat().st_mtime_ns if target.exists() else 0
    try:
        app.upload(slot, digest).rename(target)
    except FileNotFoundError:
        raise ReleaseError("The archive is gone from the server. Submit it again.") from None
    os.utime(target, ns=(age, age))


@contextmanager
def received(source: Buffered, app: App, digest: str) -> Iterator[str]:
    """Receive an archive into a slot, which is emptied afterwards; yield the slot.

    Raises RefusedError if it does not match its digest or exceeds a deploy key's limits.
    """
    with _slot(app) as (path, file):
        slot = path.name.partition(".")[0]
        checked = app.upload(slot, digest)
        try:
            _receive(source, file, app)
            check(path, digest, BY_KEY)
            os.link(path, checked)  # protects it from the next user of the slot
            yield slot
        finally:
            checked.unlink(missing_ok=True)
            if _is(path, file):  # otherwise another upload has the slot
                path.unlink()


@contextmanager
def _slot(app: App) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield an empty file that no other upload writes to. Files of killed uploads are reused, so
    there are at most SLOTS. Raises LockedError if all are in use."""
    folder = app.uploads
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(SLOTS):
        path = folder / f"{number}.tar.gz"
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not _is(path, file):  # moved or removed since it was opened
                continue
            for left in folder.glob(f"{number}.*"):  # checked archives of killed uploads
                if left != path:
                    left.unlink(missing_ok=True)
            if os.fstat(file.fileno()).st_nlink > 1:  # being deployed, though its upload was killed
                path.unlink()
                continue
            file.truncate()
            yield path, file
            return
    raise LockedError(f"{SLOTS} archives of {app.name} are being uploaded. Try again later.")


def _is(path: Path, file: BinaryIO) -> bool:
    return path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino


def _receive(source: Buffered, file: BinaryIO, app: App) -> None:
    """Copy an archive as it arrives, within the limits of time, size and disk."""
    signal.signal(signal.SIGALRM, _too_late)
    end = time.monotonic() + PATIENCE
    size = 0
    try:
        while True:
            signal.alarm(max(1, min(STALLED, int(end - time.monotonic()))))
            chunk = source.read1(CHUNK)
            if not chunk:
                break
            size = check_size(size + len(chunk), BY_KEY.size)
            if size // SPACE_EVERY != (size - len(chunk)) // SPACE_EVERY:
                resources.check_disk(app)
            file.write(chunk)
        file.flush()
    finally:
        signal.alarm(0)


def _too_late(*_: object) -> NoReturn:
    raise RefusedError(
        f"The archive did not arrive: no data for {STALLED} s, or incomplete after {PATIENCE} s."
    )
