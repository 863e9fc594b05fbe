"""Output for the user: progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import syslog
from collections.abc import Callable, Iterator
from typing import Any

from onebox_release.errors import ReleaseError, describe
from onebox_release.terminal import printable

SCHEMA = 1
LINE, TEXT = 500, 4000  # characters of a log excerpt, for messages and the history
OF_APP = re.compile(r'File "/srv/[^/]+/releases/[^/]+/app/')
# Lines that Gunicorn and systemd add after a crash, which bury its cause.
NOISE = re.compile(
    r"^\[[^]]*\] \[\d+\] \[(INFO|ERROR)\] (Booting|Worker |Shutting|Reason|Exception in worker)"
    r"|^\S+\.service: (Main|Failed|Consumed|Scheduled)"
)
HALTED = re.compile(
    r"^Traceback \(most recent call last\):\ngunicorn\.errors\.HaltServer.*\n"
    r"|^(?:During handling|The above exception) .*\n|^\n",
    re.MULTILINE,
)
RAISED = re.compile(r"^[a-zA-Z_][\w.]*(Error|Exception|Exit|Interrupt)\b")


def log(text: str) -> None:
    """Log progress to stderr, where the deployer reads it, and to the journal."""
    for line in text.splitlines():
        syslog.syslog(line.replace("\0", "\\0"))
    with contextlib.suppress(OSError):  # the connection may be lost, or the disk full
        print(printable(text), file=sys.stderr, flush=True)


def exit_code(run: Callable[[], int]) -> int:
    """Run a command and return its exit code; log its error to stderr."""
    try:
        return run()
    except ReleaseError as error:
        log(str(error))
        return error.code
    except OSError as error:
        log(describe(error))
        return ReleaseError.code


def excerpt(journal: str, lines: int = 20) -> str:
    """Return the last lines of a log that show the cause of a failure.

    Of tracebacks it keeps the frames in the app's code and the exception; it drops Gunicorn's
    shutdown. A line is cut to LINE characters (the journal allows 48 KiB), all lines to TEXT.
    """
    relevant, foreign = [], False
    for line in _lines(journal):
        if line.lstrip().startswith('File "'):
            foreign = not OF_APP.search(line)
        elif not line.startswith(" "):
            foreign = False
        if not foreign and not NOISE.search(line):
            relevant.append(line)
    shown = HALTED.sub("", "".join(f"{line}\n" for line in relevant)).splitlines()
    last = (shown or journal.splitlines())[-lines:]
    return "\n".join(each if len(each) <= LINE else f"{each[:LINE]}..." for each in last)[-TEXT:]


def last_lines(journal: str) -> str:
    """Return the excerpt of an app's log as the end of a message, without control characters and
    indented with a bar, so that an app cannot forge our own lines."""
    lines = (f"  | {plain(line)}" for line in excerpt(journal).splitlines())
    return "Its last lines:\n" + "\n".join(lines)


def short(text: str, most: int = 2 * TEXT) -> str:
    """Return a text of about `most` characters at most: its start and its end."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def plain(text: str, limit: int = 4000) -> str:
    """Return an app's text for a terminal: without control characters except line breaks, and its
    last `limit` characters at most."""
    shown = text if len(text) <= limit else f"... {text[-limit:]}"
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in shown)


def _lines(journal: str) -> Iterator[str]:
    """Yield a log's lines; for JSON lines with a traceback, the traceback's lines."""
    for line in journal.splitlines():
        try:
            text = json.loads(line)["exception"] if line.startswith("{") else line
        except (ValueError, KeyError, RecursionError):
            text = line
        yield from str(text).splitlines()


def cause(journal: str) -> str:
    """Return a colon and the last exception in an app's log, or an empty string."""
    raised = [line for line in excerpt(journal).splitlines() if RAISED.match(line)]
    return f": {raised[-1]}" if raised else ""


def document(app: str, data: Any, *, host: str | None = None) -> str:
    """Return the machine-readable output format; `host` defaults to this server's name."""
    server = socket.gethostname() if host is None else host
    return json.dumps({"schema": SCHEMA, "host": server, "app": app, "data": data})
