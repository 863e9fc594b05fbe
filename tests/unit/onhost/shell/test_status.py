"""The status: one screen, coloured on a terminal."""

from __future__ import annotations

import fcntl
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onebox_release import terminal
from onebox_release.app import App
from onebox_release.core import history
from onebox_release.host import lock
from onebox_release.shell import status

from tests.unit.onhost.fake_server import Server

WELL = status.Status(
    live="b-2",
    since="2026-11-20T07:38:44+00:00",
    health="ok",
    missing=None,
    up=["b-2"],
    units=[status.Unit("web", "u", "active", 0, 2**26)],
    healthy=["b-2", "a-1"],
    deploying=False,
    paused=False,
    last={"what": "deploy", "release": "b-2", "result": "succeeded"},
    maintenance=None,
    certificate_days=60,
    certificate_late=False,
    timers={},
    disk=status.Disk(3 * 2**30, 2**34),
    memory=status.Memory(2**30, 2**31),
    lock=None,
    hold=None,
    reboot=False,
    problems=None,
)


def test_all_of_it_on_one_screen() -> None:
    name, *lines = status.render("links", WELL).splitlines()
    assert name.startswith("app           links on ")
    assert lines == [
        "live          b-2, since 2026-11-20 07:38 UTC",
        "health        ok",
        "web           active, 0 restarts, 64 MiB",
        "kept          a-1",
        "certificate   60 days",
        "disk          3.0 GiB of 16.0 GiB free",
        "memory        1.0 GiB of 2.0 GiB available",
        "deploys       not on hold",
        "reboot        not needed",
    ]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"health": "/ready answered 503"}, terminal.RED, "/ready answered 503"),
        ({"certificate_days": 26, "certificate_late": True}, terminal.YELLOW, "26 days"),
        ({"certificate_days": None}, terminal.RED, "none"),
        ({"reboot": True}, terminal.YELLOW, "needed"),
        ({"lock": "ann at home"}, terminal.YELLOW, "one is under way, by ann at home"),
        (
            {"paused": True},
            terminal.YELLOW,
            "timers do not run; processes only if a deploy started them",
        ),
        ({"deploying": True}, terminal.YELLOW, "one is under way"),
        ({"disk": status.Disk(1, 100)}, terminal.YELLOW, "0 MiB of 0 MiB free"),
        ({"live": None, "units": [], "missing": None}, terminal.RED, "nothing"),
        (
            {"live": None, "missing": "b-2"},
            terminal.RED,
            "nothing (current points to release b-2, which is missing: deploy",
        ),
    ],
)
def test_what_is_not_well_has_a_colour_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], code: str, text: str
) -> None:
    assert "\033" not in status.render("links", replace(WELL, **change))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert f" \033[{code}m{text}\033[0m\n" in status.render("links", replace(WELL, **change)) + "\n"
    monkeypatch.setenv("NO_COLOR", "")
    assert "\033" not in status.render("links", replace(WELL, **change))


def test_a_long_reason_stays_within_80_columns() -> None:
    hold = {"at": "2026-11-20T07:38:44+00:00", "who": "ann", "why": "a very long reason " * 9}
    lines = status.render("links", replace(WELL, hold=hold)).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("deploys") for line in lines) == 1


def test_the_lock_is_only_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")

    def gather() -> object:
        return status.gather(server.app).lock

    assert gather() is None
    with (tmp_path / "lock").open("w+") as file:
        assert lock.try_lock(file, "ann at home")
        assert gather() == "ann at home"
        fcntl.flock(file, fcntl.LOCK_UN)
        assert gather() is None


def test_the_history_and_the_releases_to_roll_back_to(server: Server) -> None:
    server.make("a-1", "b-2", live="b-2")
    history.record(
        server.app, what="deploy", release="a-1", before="", result="succeeded", seconds=1
    )
    history.record(
        server.app, what="deploy", release="c-3", before="a-1", result="failed", why="no\nmore"
    )
    history.record(server.app, what="deploy", release="b-2", before="a-1", result="succeeded")
    first, second, why, third = history.render(history.read(server.app)).splitlines()
    assert first.endswith("deploy  a-1  succeeded  1 s")
    assert second.endswith("deploy  c-3  failed     ? s")
    assert (why, third.split()[4]) == ("  no", "succeeded")
    kept = history.releases(server.app)
    assert [(entry["release"], entry["live"]) for entry in kept] == [("b-2", True), ("a-1", False)]
    assert history.render_releases([]) == "No release is installed."
    assert history.render([]) == "Nothing has been deployed."


def test_a_deploy_key_gets_the_status_of_its_app_only(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [
        "answer:links", "answer:links-2", "memory:server", "timer:links-report", "timer:links-2-x",
        "deploy:links", "disk:/",
    ]  # fmt: skip
    problems = {"at": 1, "open": [{"key": k, "what": k, "do": "ssh", "since": 1} for k in keys]}
    last = {"what": "deploy", "release": "b-2", "result": "failed", "who": "ann at laptop"}
    hold = {"who": "ann", "why": "the sale", "at": "t"}
    state = replace(
        WELL, deploying=True, problems=problems, last=last, lock="ann at laptop", hold=hold
    )
    monkeypatch.setattr(status, "gather", lambda *_: state)
    told = status.for_key(app.with_parameters(timers=["report"]))
    assert [each["key"] for each in told["problems"]["open"]] == [
        "answer:links",
        "timer:links-report",
    ]
    assert told["live"] == "b-2"
    assert told["hold"] is True
    text = json.dumps(told)
    for secret in ("ann", "the sale", "laptop", "ssh", "links-2", "memory:", "disk"):
        assert secret not in text
