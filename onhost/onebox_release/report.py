"""What the person at the other end reads: progress on stderr, results on stdout."""

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
LINE, TEXT = 500, 4000  # characters of a log in a report: it goes into messages and the history
OF_APP = re.compile(r'File "/srv/[^/]+/releases/[^/]+/app/')
# What Gunicorn and systemd add once it is over, which buries why.
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
    """Tell what is going on: on stderr, where the deployer follows it, and in the journal."""
    for line in text.splitlines():
        syslog.syslog(line.replace("\0", "\\0"))
    with contextlib.suppress(OSError):  # the deployer may be gone, and the disk may be full
        print(printable(text), file=sys.stderr, flush=True)


def exit_code(run: Callable[[], int]) -> int:
    """Run a command and return its exit code; why it stopped is told on stderr."""
    try:
        return run()
    except ReleaseError as error:
        log(str(error))
        return error.code
    except OSError as error:
        log(describe(error))
        return ReleaseError.code


def excerpt(journal: str, lines: int = 20) -> str:
    """Return a log's last lines that say why: of tracebacks those in the app's code, and what was
    raised; nothing of Gunicorn's own end. A line of the journal has 48 KiB at most; here it has
    LINE characters, and all of them have TEXT."""
    kept, foreign = [], False
    for line in _lines(journal):
        if line.lstrip().startswith('File "'):
            foreign = not OF_APP.search(line)
        elif not line.startswith(" "):
            foreign = False
        if not foreign and not NOISE.search(line):
            kept.append(line)
    told = HALTED.sub("", "".join(f"{line}\n" for line in kept)).splitlines()
    last = (told or journal.splitlines())[-lines:]
    return "\n".join(each if len(each) <= LINE else f"{each[:LINE]}..." for each in last)[-TEXT:]


def last_lines(journal: str) -> str:
    """Return the excerpt of an app's log as the end of a message. Its lines are plain and marked,
    so that no app's line passes for one of ours."""
    lines = (f"  | {plain(line)}" for line in excerpt(journal).splitlines())
    return "Its last lines:\n" + "\n".join(lines)


def short(text: str, most: int = 2 * TEXT) -> str:
    """Return a text of at most about `most` characters: its first and its last ones."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def plain(text: str, limit: int = 4000) -> str:
    """Return an app's text for a terminal: no control characters but line ends, and its last
    `limit` characters at most."""
    kept = text if len(text) <= limit else f"... {text[-limit:]}"
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in kept)


def _lines(journal: str) -> Iterator[str]:
    """Yield a log's lines, and of those in JSON that hold a traceback its own."""
    for line in journal.splitlines():
        try:
            told = json.loads(line)["exception"] if line.startswith("{") else line
        except (ValueError, KeyError, RecursionError):
            told = line
        yield from str(told).splitlines()


def cause(journal: str) -> str:
    """Return the last line that names an exception of the app's, behind a colon; or nothing."""
    raised = [line for line in excerpt(journal).splitlines() if RAISED.match(line)]
    return f": {raised[-1]}" if raised else ""


def document(app: str, data: Any, *, host: str | None = None) -> str:
    """Return the one shape of machine-readable output, by default with this server's name."""
    named = socket.gethostname() if host is None else host
    return json.dumps({"schema": SCHEMA, "host": named, "app": app, "data": data})
