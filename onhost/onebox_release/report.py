"""What the person at the other end reads: progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import syslog
from collections.abc import Callable
from typing import Any

from .errors import ReleaseError

SCHEMA = 1


def say(text: str) -> None:
    """Tell what is going on: on stderr, where the deployer follows it, and in the journal."""
    for line in text.splitlines():
        syslog.syslog(line)
    with contextlib.suppress(OSError):  # the deployer may be gone, and the disk may be full
        print(text, file=sys.stderr, flush=True)


def exit_code(run: Callable[[], int]) -> int:
    """Run a command and return its exit code; why it stopped is told on stderr."""
    try:
        return run()
    except ReleaseError as error:
        say(str(error))
        return error.code
    except OSError as error:
        say(f"The server's system refused: {error}")
        return ReleaseError.code


def excerpt(log: str, lines: int = 20) -> str:
    """Return a log's last lines, without those of tracebacks that lie outside the app's code."""
    kept, foreign = [], False
    for line in log.splitlines():
        if line.lstrip().startswith('File "'):
            foreign = "/app/" not in line
        elif not line.startswith(" "):
            foreign = False
        if not foreign:
            kept.append(line)
    return "\n".join(kept[-lines:])


def document(app: str, data: Any) -> str:
    """Return the one shape of machine-readable output."""
    return json.dumps({"schema": SCHEMA, "host": socket.gethostname(), "app": app, "data": data})
