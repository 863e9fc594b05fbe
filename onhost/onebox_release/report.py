"""What the person at the other end reads: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

SCHEMA = 1


def say(line: str) -> None:
    """Tell what is going on."""
    print(line, file=sys.stderr, flush=True)


def document(app: str, data: Any) -> str:
    """Return the one shape of machine-readable output."""
    return json.dumps({"schema": SCHEMA, "host": socket.gethostname(), "app": app, "data": data})
