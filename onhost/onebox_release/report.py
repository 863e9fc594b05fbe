"""What the person at the other end reads: progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import syslog
from typing import Any

SCHEMA = 1


def say(text: str) -> None:
    """Tell what is going on: on stderr, where the deployer follows it, and in the journal."""
    for line in text.splitlines():
        syslog.syslog(line)
    with contextlib.suppress(OSError):  # the deployer may be gone, and the disk may be full
        print(text, file=sys.stderr, flush=True)


def document(app: str, data: Any) -> str:
    """Return the one shape of machine-readable output."""
    return json.dumps({"schema": SCHEMA, "host": socket.gethostname(), "app": app, "data": data})
