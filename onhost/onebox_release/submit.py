"""The command onebox-submit: all that a deploy key can do.

sshd runs it for every connection that is made with such a key, whatever the connection asks for;
its arguments are the apps that the key is for.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn

from . import lock, parameters
from .errors import LockedError, RefusedError
from .places import Places
from .report import exit_code
from .unit import PROGRAM

MOST = 128 * 1024 * 1024  # bytes of an archive, as it comes and as it is unpacked
PATIENCE = 600  # seconds in which it must have come
CHUNK = 64 * 1024
SUBMIT = re.compile(r"submit ([a-z0-9-]+) ([0-9a-f]{64})", re.ASCII)
STATUS = re.compile(r"status ([a-z0-9-]+)", re.ASCII)


def main() -> int:
    """Do what the connection asks for, if it is one of two things; return the exit code."""
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    return exit_code(lambda: serve(asked, sys.argv[1:]))


def serve(request: str, apps: list[str]) -> int:
    """Serve one request, for one of these apps. Raises RefusedError for anything else."""
    asked = SUBMIT.fullmatch(request) or STATUS.fullmatch(request)
    if not asked or asked[1] not in apps:
        raise RefusedError(
            "This key may `submit APP DIGEST`, with an archive on standard input, and `status APP`."
            f" APP is one of: {', '.join(apps)}."
        )
    app = asked[1]
    if asked.re is STATUS:
        return subprocess.run([PROGRAM, "status", app, "--json"], check=False).returncode
    places = Places(app)
    parameters.read(places)
    with lock.locked(f"A deploy key of {app}") as reason:
        if reason:
            raise LockedError(reason)
        receive(sys.stdin.buffer, places.incoming(asked[2]), asked[2])
        return subprocess.run([PROGRAM, "deploy", app, asked[2]], check=False).returncode


def receive(source: BinaryIO, target: Path, digest: str) -> None:
    """Write an archive down under its name. Raises RefusedError where it isn't what it says."""
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(PATIENCE)
    new = target.with_name(f"{target.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            size = 0
            while chunk := source.read(CHUNK):
                size = _within(size + len(chunk))
                file.write(chunk)
        if _digest(new) != digest:
            raise RefusedError("The archive is not the one that was announced. Submit it again.")
        new.rename(target)
    finally:
        signal.alarm(0)
        new.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    """Return the SHA-256 of what is packed, without unpacking more than is allowed at once."""
    total, size = hashlib.sha256(), 0
    try:
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                size = _within(size + len(chunk))
                total.update(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedError(f"The archive can't be read: {error}.") from error
    return total.hexdigest()


def _within(size: int) -> int:
    if size > MOST:
        raise RefusedError(f"The archive has more than {MOST >> 20} MiB. Nothing was begun.")
    return size


def _too_late(*_: object) -> NoReturn:
    raise RefusedError(f"The archive did not come within {PATIENCE} s.")
