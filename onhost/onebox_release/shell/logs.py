"""Logs of an app, nginx and PostgreSQL, and the app's history, merged by time."""

from __future__ import annotations

import gzip
import heapq
import json
import os
import re
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from onebox_release.app import App
from onebox_release.core import release_units
from onebox_release.errors import ReleaseError
from onebox_release.terminal import printable

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
INTERRUPT = b"\x03"  # what Ctrl-C sends over a connection without a terminal
TAIL = 20  # lines to show before following


@dataclass(frozen=True, order=True)
class Line:
    """A log line; `at` is in seconds of the epoch."""

    at: float
    source: str
    text: str

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        # An app's entry may have several lines, which must not look like other entries.
        text = printable(self.text).replace("\n", f"\n{'':36}")
        return f"{at.removesuffix('+00:00')}Z {self.source:10} {text}"


Parse = Callable[[str], Line | None]
Filter = Callable[[str], object]


def read(app: App, *, since: str, matches: Filter, newest: int) -> list[Line]:
    """Return the newest lines for which `matches` is true."""
    start = moment(since)
    journal = [*_journal(app), f"--since=@{start:.0f}"]
    sources = [_parsed(_output(journal), journal_line(app.name), start)]
    for path, make in _files(app):
        sources += [_parsed(lines, make(), start) for lines in _rotations(path, start)]
    merged = heapq.merge(*sources, key=lambda line: line.at)
    return list(deque((line for line in merged if matches(line.text)), newest))


def follow(app: App, matches: Filter) -> Iterator[Line]:
    """Yield lines as they are written, until standard input ends or sends Ctrl-C."""
    journal = [*_journal(app), "--follow", "--lines=0"]
    commands = [(journal, journal_line(app.name))]
    for path, make in _files(app):
        tail = ["tail", "--follow=name", "--retry", "--lines=0", str(path)]
        commands.append((tail, make()))
    with ExitStack() as stack:
        outputs: dict[int, tuple[Parse, list[bytes]]] = {}
        for command, parse in commands:
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.terminate)
            if process.stdout:
                outputs[process.stdout.fileno()] = (parse, [b""])
        while True:
            for ready in select.select([0, *outputs], [], [])[0]:
                data = os.read(ready, 65_536)
                if ready in outputs and not data:
                    del outputs[ready]
                elif ready in outputs:
                    parse, rest = outputs[ready]
                    *whole, rest[0] = (rest[0] + data).split(b"\n")
                    lines = (parse(text.decode(errors="replace")) for text in whole)
                    yield from (line for line in lines if line and matches(line.text))
                elif not data or INTERRUPT in data:
                    return


def finder(grep: str, request: str) -> Filter:
    """Return a filter for lines that match `grep` and contain the request's id."""
    try:
        pattern = re.compile(grep)
    except re.error as error:
        raise ReleaseError(f"--grep {grep!r} is not a regular expression: {error}") from None
    return lambda text: request in text and pattern.search(text)


def moment(text: str) -> float:
    """Return seconds of the epoch for "15m" (ago) or "2026-11-20 07:00" (UTC)."""
    if (match := re.fullmatch(r"(\d+)([smhd])", text)) is not None:
        return time.time() - int(match[1]) * UNITS[match[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ReleaseError(
            f'--since {text!r} is not a time. Write "15m", "2h", "3d" or "2026-11-20 07:00" (UTC).'
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def journal_line(app: str) -> Parse:
    """Return a parser for lines of `journalctl -o json`."""

    def parse(text: str) -> Line | None:
        entry = json.loads(text)
        # An app can set fields without a leading "_": only systemd (PID 1) may name other units.
        named = entry.get("UNIT", "") if entry.get("_PID") == "1" else ""
        unit = _text(named or entry.get("_SYSTEMD_UNIT", ""))
        source = unit.removeprefix(f"{app}-").partition("@")[0].removesuffix(".service")
        if unit.startswith("onebox-release-"):
            source = "release"
        return Line(
            int(entry["__REALTIME_TIMESTAMP"]) / 1e6, source, _text(entry.get("MESSAGE", ""))
        )

    return parse


def _text(value: object) -> str:
    """Return a journal field's text. Fields that are not text are bytes, repeated fields are lists,
    and fields that are too long are null."""
    if isinstance(value, list):
        if all(isinstance(byte, int) for byte in value):
            return bytes(value).decode(errors="replace")
        return _text(value[-1])
    return value if isinstance(value, str) else "(too long to be shown)"


def access_line(text: str) -> Line | None:
    """Parse a line of nginx's access log, which ends with its time.

    That time is truncated to milliseconds, and the journal's has microseconds: set to the end of
    its millisecond, the line sorts after what the app logged before it.
    """
    message, _, at = text.rpartition(" ")
    return Line(float(f"{at}999"), "nginx", message) if re.fullmatch(r"\d+\.\d{3}", at) else None


def error_line(domain: str) -> Parse:
    """Return a parser for nginx's error log that skips lines of other apps."""

    def parse(text: str) -> Line | None:
        match = re.fullmatch(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (.*)", text)
        if match is None or (", server: " in text and f", server: {domain}," not in text):
            return None
        return Line(_local(match[1], "%Y/%m/%d %H:%M:%S"), "nginx", match[2])

    return parse


def postgresql_line(app: str) -> Parse:
    """Return a parser for PostgreSQL's log: lines of the app's database and of no database."""
    last: list[Line | None] = [None]

    def parse(text: str) -> Line | None:
        if text.startswith("\t"):  # a continuation line
            last[0] = last[0] and replace(last[0], text=text.strip())
            return last[0]
        match = re.fullmatch(
            r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \S+ \[\d+\] (?:\S+@(\S+) )?(.*)", text
        )
        ours = match is not None and match[2] in {None, app}
        last[0] = (
            Line(_local(match[1], "%Y-%m-%d %H:%M:%S.%f"), "postgresql", match[3])
            if match and ours
            else None
        )
        return last[0]

    return parse


def history_line(text: str) -> Line | None:
    """Parse a line of the history."""
    try:
        entry = json.loads(text)
    except json.JSONDecodeError:  # torn by a power cut
        return None
    at = datetime.fromisoformat(entry["at"]).timestamp()
    of = f" of {entry['release']}" if entry["release"] else ""
    return Line(at, "history", f"{entry['what']}{of}: {entry['result']}")


def _journal(app: App) -> list[str]:
    name = app.name
    units = [
        f"{name}.service",
        f"{name}@*.target",
        f"{name}-web@*.socket",
    ]
    kinds = ("web", "migrate", "hook", *release_units.all_processes(app), *app.parameters.timers)
    units += [f"{name}-{kind}@*.service" for kind in kinds]
    options = (f"--unit={unit}" for unit in (*units, app.unit))
    return ["journalctl", "--quiet", "--no-pager", "--output=json", *options]


def _files(app: App) -> list[tuple[Path, Callable[[], Parse]]]:
    """Return the log files with lines of the app, each with its parser."""
    files: list[tuple[Path, Callable[[], Parse]]] = [
        (app.access_log, lambda: access_line),
        (app.access_log.with_name("error.log"), lambda: error_line(app.parameters.domains[0])),
        (app.history, lambda: history_line),
    ]
    if app.parameters.database == "local":
        found = (app.root / "var/log/postgresql").glob("postgresql-*-main.log")
        files += [(path, lambda: postgresql_line(app.name)) for path in found]
    return files


def _parsed(texts: Iterable[str], parse: Parse, start: float) -> Iterator[Line]:
    lines = (parse(text.rstrip("\n")) for text in texts)
    return (line for line in lines if line and line.at >= start)


def _output(command: list[str]) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        yield from process.stdout or ()


def _rotations(path: Path, start: float) -> list[Iterator[str]]:
    """Return the lines of a log and its rotations that were written to since `start`.

    All files are opened first, each once: a rotation renames them meanwhile.
    """
    opened: dict[int, Iterator[str]] = {}
    for name in sorted(path.parent.glob(f"{path.name}*")):  # .1, .2.gz and so on
        if name.suffix == ".gz" and name.with_suffix("").exists():
            continue  # still being compressed
        with suppress(FileNotFoundError):
            file = name.open("rb")
            state = os.fstat(file.fileno())
            if state.st_mtime < start or state.st_ino in opened:
                file.close()
            else:
                opened[state.st_ino] = _content(file, compressed=name.suffix == ".gz")
    return list(opened.values())


def _content(file: BinaryIO, *, compressed: bool) -> Iterator[str]:
    plain = gzip.GzipFile(fileobj=file) if compressed else nullcontext(file)
    with file, plain as lines, suppress(EOFError):
        for line in lines:
            yield line.decode(errors="replace")


def _local(text: str, form: str) -> float:
    """Return seconds of the epoch for a time in this server's time zone."""
    return datetime.strptime(text, form).astimezone().timestamp()
