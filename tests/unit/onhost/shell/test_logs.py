"""Logs of four makers, in one order of time."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.shell import logs
from onebox_release.shell.logs import Line

from tests.unit.onhost.fake_server import PARAMETERS

WEB = {"_SYSTEMD_UNIT": "links-web@a-1.service"}
AT = datetime(2026, 11, 20, 7, 0, 1, 500_000, UTC).timestamp()


@pytest.fixture(autouse=True)
def _server_in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_line_says_when_and_who() -> None:
    assert str(Line(AT, "web", "text")) == "2026-11-20T07:00:01.500Z web        text"


@pytest.mark.parametrize(
    ("entry", "source", "text"),
    [
        ({**WEB, "MESSAGE": "x"}, "web", "x"),
        (
            {"_SYSTEMD_UNIT": "init.scope", "_PID": "1", "UNIT": "links-queue@a-1.service"},
            "queue",
            "",
        ),
        # What an app may write into the journal's socket itself.
        ({**WEB, "UNIT": "onebox-release-links.service"}, "web", ""),
        ({**WEB, "MESSAGE": ["a", [98, 255]]}, "web", "b\ufffd"),
        ({**WEB, "MESSAGE": None}, "web", "(too long to be shown)"),
        ({**WEB, "MESSAGE": []}, "web", ""),
        ({"_SYSTEMD_UNIT": "onebox-release-links.service", "MESSAGE": "x"}, "release", "x"),
        ({**WEB, "MESSAGE": [104, 105, 255]}, "web", "hi\ufffd"),
    ],
)
def test_the_journal(entry: dict[str, object], source: str, text: str) -> None:
    line = json.dumps({"__REALTIME_TIMESTAMP": str(int(AT * 1e6)), **entry})
    assert logs.journal_line("links")(line) == Line(AT, source, text)


def test_the_journal_of_an_app_includes_its_timers_and_hooks(app: App) -> None:
    with_timer = replace(app, override=replace(PARAMETERS, timers=["report"]))
    options = set(logs._journal(with_timer))
    for kind in ("web", "migrate", "hook", "report"):
        assert f"--unit=links-{kind}@*.service" in options
    assert "--unit=onebox-release-links.service" in options


def test_nginx() -> None:
    line = f'1.2.3.4 - - [..] "GET / HTTP/1.1" 200 1 "-" "-" 0.004 abc {AT:.3f}'
    # Behind all that was written in the same millisecond.
    assert logs.access_line(line) == Line(AT + 0.000999, "nginx", line.rpartition(" ")[0])
    assert logs.access_line('1.2.3.4 - - [..] "GET / HTTP/1.1" 200 1 "-" "-"') is None
    read = logs.error_line("links.test")
    mine = "[error] 1#1: *1 no, client: 1.2.3.4, server: links.test, request: x"
    assert read(f"2026/11/20 07:00:01 {mine}") == Line(AT - 0.5, "nginx", mine)
    assert read(f"2026/11/20 07:00:01 {mine.replace('links.test', 'other.test')}") is None
    assert read("torn") is None


def test_postgresql() -> None:
    read = logs.postgresql_line("links")
    stamp = "2026-11-20 07:00:01.500 UTC [12]"
    assert read(f"{stamp} links@links ERROR:  no") == Line(AT, "postgresql", "ERROR:  no")
    assert read("\tgoes on") == Line(AT, "postgresql", "goes on")
    assert read(f"{stamp} LOG:  ready") == Line(AT, "postgresql", "LOG:  ready")
    assert read(f"{stamp} links@other ERROR:  no") is None
    assert read("\tof the other") is None


def test_the_history() -> None:
    entry = {"at": "2026-11-20T07:00:01+00:00", "what": "deploy", "release": "a-1"}
    line = logs.history_line(json.dumps({**entry, "result": "succeeded"}))
    assert line == Line(AT - 0.5, "history", "deploy of a-1: succeeded")
    assert logs.history_line('{"at": "20') is None


def test_a_moment() -> None:
    assert abs(logs.moment("15m") - (time.time() - 900)) < 1
    assert logs.moment("2026-11-20 07:00") == AT - 1.5
    assert logs.moment("2026-11-20T08:00+01:00") == AT - 1.5
    with pytest.raises(ReleaseError, match='Write "15m"'):
        logs.moment("soon")


def test_what_is_found() -> None:
    find = logs.finder("4[0-9]{2}", "abc")
    assert find("abc 404")
    assert not find("abc 200")
    assert not find("xyz 404")
    with pytest.raises(ReleaseError, match="not a regular expression"):
        logs.finder("(", "")


def test_all_of_them_merged_rotated_ones_too(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_output", lambda _command: iter([]))
    app.access_log.write_text(f"third {AT + 2:.3f}\nfifth {AT + 4:.3f}\n")
    with gzip.open(f"{app.access_log}.2.gz", "wt") as file:
        file.write(f"too old {AT - 9:.3f}\nfirst {AT:.3f}\n")
    folder = app.root / "var/log/postgresql"
    folder.mkdir(parents=True)
    (folder / "postgresql-15-main.log").write_text(
        "2026-11-20 07:00:02.500 UTC [1] second\n2026-11-20 07:00:04.500 UTC [1] fourth\n"
    )
    os.utime(f"{app.access_log}.2.gz", (AT, AT))
    found = logs.read(app, since="2026-11-20 07:00", matches=logs.finder("", ""), newest=4)
    assert [line.text for line in found] == ["second", "third", "fourth", "fifth"]


def test_a_rotation_in_the_middle_loses_and_repeats_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = app.access_log
    earlier = log.with_name(f"{log.name}.1")

    def rotate(_command: list[str]) -> Iterator[str]:
        """Runs between listing the files and reading them."""
        earlier.rename(log.with_name(f"{log.name}.2"))
        with gzip.open(f"{log}.2.gz", "wt") as file:
            file.write(f"first {AT:.3f}\n")
        log.with_name(f"{log.name}.2").unlink()
        log.rename(earlier)
        log.write_text(f"too late {AT + 9:.3f}\n")
        yield from ()

    earlier.write_text(f"first {AT:.3f}\n")
    log.write_text(f"second {AT + 1:.3f}\n")
    # Half of it: it is being compressed while its source is there.
    log.with_name(f"{log.name}.1.gz").write_bytes(gzip.compress(b"first")[:9])
    monkeypatch.setattr(logs, "_output", rotate)
    found = logs.read(app, since="2026-11-20 07:00", matches=str, newest=9)
    assert [line.text for line in found] == ["first", "second"]


def test_following_ends_with_its_reader(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_journal", lambda *_: ["true"])
    app.access_log.write_text("")
    reader, writer = os.pipe()
    keep = os.dup(0)
    os.dup2(reader, 0)
    try:
        lines = logs.follow(app, logs.finder("", ""))
        os.write(writer, b"typed")
        subprocess.run(
            ["sh", "-c", f"(sleep 1; echo said {AT:.3f} >> {app.access_log}) &"], check=True
        )
        assert next(lines).text == "said"
        os.write(writer, b"\x03")
        assert list(lines) == []
    finally:
        os.dup2(keep, 0)
        for descriptor in (keep, reader, writer):
            os.close(descriptor)
