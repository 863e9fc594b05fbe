"""The command onebox-submit: all that a deploy key can do.

sshd runs it for every request that is made with such a key, whatever is asked for; its first
argument is the key's fingerprint. The others, the apps that the key was for when its connection
began, are not believed: see keys.py.
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

from onebox_release.app import App
from onebox_release.core import identity, requester
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import lock, resources
from onebox_release.install.archive import BY_KEY, CHUNK, check, within
from onebox_release.report import document, exit_code
from onebox_release.shell import keys, status
from onebox_release.shell.transient_unit import PROGRAM

PATIENCE = 600  # seconds in which an archive must have come: 128 MiB by 1.8 Mbit/s
STALLED = 30  # seconds without a byte; TCP sends again after less, where a line is bad
STATUS_WITHIN = 60  # seconds in which the answer to `status` must have been read
SLOTS = 4  # archives that may come at once for one app: 512 MiB at most
SPACE_EVERY = 4 << 20  # bytes after which the disk is asked again
SUBMIT = re.compile(r"submit ([a-z0-9-]+) ([0-9a-f]{64})(?: wait=([0-9]{1,4}))?", re.ASCII)
STATUS = re.compile(r"status ([a-z0-9-]+)", re.ASCII)


class Buffered(Protocol):
    """What gives as much as has come, without waiting for more."""

    def read1(self, size: int, /) -> bytes:
        """Return up to so many bytes; none at the end."""


def main() -> int:
    """Do what the connection asks for, if it is one of two things; return the exit code."""
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    return exit_code(lambda: serve(asked, sys.argv[1] if len(sys.argv) > 1 else ""))


def serve(request: str, key: str) -> int:
    """Serve one request, for one of the key's apps. Raises RefusedError for anything else."""
    apps = keys.apps(key)
    if not apps:
        disconnect(os.getppid(), int(os.environ.get("SUDO_UID", 0)))
        raise RefusedError("This key may do nothing on this server any more.")
    asked = SUBMIT.fullmatch(request) or STATUS.fullmatch(request)
    if not asked or asked[1] not in apps:
        raise RefusedError(
            "This key may `submit APP DIGEST [wait=SECONDS]`, with an archive on standard input,"
            f" and `status APP`. APP is one of: {', '.join(apps)}."
        )
    app = App(asked[1])
    app.parameters  # noqa: B018 - one that is gone is refused before anything is received
    if asked.re is STATUS:
        signal.alarm(STATUS_WITHIN)  # for a client that does not read it
        print(document(app.name, status.for_key(app), host=""))
        return 0
    # Before any lock: whoever sends slowly keeps nobody waiting.
    with received(os.fdopen(0, "rb", closefd=False), app, asked[2]) as slot:
        keys.check(key, app.name)
        # No lock of the server's: the unit keeps deploys of this app apart, and another app's
        # deploy is nothing to wait for.
        wait = asked[3] or str(lock.WAIT)
        command = [PROGRAM, "deploy", app.name, asked[2], "--by-key", key, "--upload", slot]
        command += ["--wait", wait]
        environment = {**os.environ, requester.VARIABLE: f"{requester.KEY} {app.name}"}
        return subprocess.run(command, check=False, env=environment).returncode


def disconnect(process: int, user: int) -> None:
    """End the connection that a process came by: what is above it and the user's, not root's."""
    while process > 1:
        text = Path(f"/proc/{process}/status").read_text()
        found = {
            name: int(id_) for name, id_ in re.findall(r"^(PPid|Uid):\s+(\d+)", text, re.MULTILINE)
        }
        if found["Uid"] == user != 0:
            os.kill(process, signal.SIGTERM)
        process = found["PPid"]


def move_upload(app: App, slot: str, digest: str) -> None:
    """Move an archive to where it is deployed from. Only the deploy itself does so, when it begins:
    no more archives wait than there are slots.

    Raises ReleaseError where it is gone: the process that received it was killed meanwhile; and
    RefusedError where it would become a release that another archive became.
    """
    identity.check_unique(app, digest)
    target = app.incoming(digest)
    # Older than any that a person sent, which waits there for its deploy: see history.prune.
    age = target.stat().st_mtime_ns if target.exists() else 0
    try:
        app.upload(slot, digest).rename(target)
    except FileNotFoundError:
        raise ReleaseError("The archive is gone from the server. Submit it again.") from None
    os.utime(target, ns=(age, age))


@contextmanager
def received(source: Buffered, app: App, digest: str) -> Iterator[str]:
    """Write an archive down in a slot of its own, which is empty again afterwards; yield the slot.

    Raises RefusedError where it isn't what it says, or holds more than a deploy key may send.
    """
    with _slot(app) as (path, file):
        slot = path.name.partition(".")[0]
        checked = app.upload(slot, digest)
        try:
            _receive(source, file, app)
            check(path, digest, BY_KEY)
            os.link(path, checked)  # from now on `_slot` writes to it no more
            yield slot
        finally:
            checked.unlink(missing_ok=True)
            if _is(path, file):  # else somebody else has the slot
                path.unlink()


@contextmanager
def _slot(app: App) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield an empty file that no other upload writes to. What a killed one left is used again:
    there are never more than SLOTS of them. Raises LockedError where all are in use."""
    folder = app.uploads
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(SLOTS):
        path = folder / f"{number}.tar.gz"
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not _is(path, file):  # whoever had it has moved or removed it since it was opened
                continue
            for left in folder.glob(f"{number}.*"):  # a killed upload's, which waited
                if left != path:
                    left.unlink(missing_ok=True)
            if os.fstat(file.fileno()).st_nlink > 1:  # a killed upload's, which is deployed
                path.unlink()
                continue
            file.truncate()
            yield path, file
            return
    raise LockedError(f"{SLOTS} archives of {app.name} are being sent already. Wait for them.")


def _is(path: Path, file: BinaryIO) -> bool:
    return path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino


def _receive(source: Buffered, file: BinaryIO, app: App) -> None:
    """Copy an archive as it comes."""
    signal.signal(signal.SIGALRM, _too_late)
    end = time.monotonic() + PATIENCE
    size = 0
    try:
        while True:
            signal.alarm(max(1, min(STALLED, int(end - time.monotonic()))))
            chunk = source.read1(CHUNK)
            if not chunk:
                break
            size = within(size + len(chunk), BY_KEY.size)
            if size // SPACE_EVERY != (size - len(chunk)) // SPACE_EVERY:
                resources.check_disk(app)
            file.write(chunk)
        file.flush()
    finally:
        signal.alarm(0)


def _too_late(*_: object) -> NoReturn:
    raise RefusedError(
        f"The archive did not come: nothing for {STALLED} s, or not all of it within {PATIENCE} s."
    )
