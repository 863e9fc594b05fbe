"""A round: which notifications are sent, how often, and which are kept for later."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from onebox_checks import channels, cli, configuration, messages, observe, state
from onebox_checks.channels import Message
from onebox_checks.configuration import Configuration, Email
from onebox_checks.observation import App, Observation
from onebox_checks.rules import Finding
from onebox_checks.state import Problem

SETTINGS = Configuration(
    host="box",
    every=300,
    ping="https://ping.test/",
    units=[],
    apps={"links": []},
    authority="https://ca.test/",
    authority_ca=None,
    deploys=False,
    hourly=12,
    email=None,
    webhook="https://hook.test/",
    command=None,
)
TIMERS = {"report": {"result": "exit-code", "exit": 7, "excerpt": "no\nspace"}}
HIDDEN = "hunter2-in-the-path"


class World:
    """What a round sees, and what it sends."""

    def __init__(self) -> None:
        self.seen = Observation(at=1000.0, apps=[App("links", "links.test", timers=TIMERS)])
        self.sent: list[Message] = []
        self.pings = 0
        self.answer = {"webhook": ""}

    def look(self, _: Configuration, *, clock: float | None) -> Observation:
        assert clock is None or clock == 3.0
        return self.seen

    def notify(self, _: Configuration, message: Message) -> dict[str, str]:
        self.sent.append(message)
        return self.answer

    def ping(self, _: str) -> tuple[str, str | None]:
        self.pings += 1
        return "", None

    def round(self, at: float, **settings: Any) -> None:
        self.seen = Observation(at=at, apps=self.seen.apps)
        cli._round(Configuration(**{**vars(SETTINGS), **settings}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made, files = World(), (tmp_path / "state.json", tmp_path / "spare")
    monkeypatch.setattr(observe, "observe_server", made.look)
    monkeypatch.setattr(channels, "notify", made.notify)
    monkeypatch.setattr(channels, "ping", made.ping)
    monkeypatch.setattr(observe, "skew", lambda _: 3.0)
    load, save = state.load, state.save
    monkeypatch.setattr(state, "load", lambda: load(*files))
    monkeypatch.setattr(state, "save", lambda kept: save(kept, *files))
    return made


def test_a_problem_is_reported_once_and_then_its_resolution(world: World) -> None:
    world.round(1000)
    world.round(1300)
    assert [message.subject for message in world.sent] == [
        "[box] The last run of timer report of links failed: exit code 7"
    ]
    world.seen = Observation(at=0, apps=[App("links", "links.test")])
    world.round(1600)
    assert (
        world.sent[-1].subject
        == "[box] resolved: The last run of timer report of links failed: exit code 7"
    )
    assert world.pings == 3


def test_an_undelivered_notification_is_sent_in_the_next_round(world: World) -> None:
    world.answer = {"webhook": "answered 503"}
    world.round(1000)
    assert world.pings == 0, "silence says that nobody could be told"
    world.answer = {"webhook": ""}
    world.round(1300)
    assert len(world.sent) == 2
    assert world.pings == 1


def test_one_way_of_two_is_enough(world: World) -> None:
    world.answer = {"webhook": "answered 503", "email": ""}
    world.round(1000)
    world.round(1300)
    assert len(world.sent) == 1
    assert state.load().undelivered == {"webhook": "answered 503"}


def test_too_many_messages_are_sent_together_later(world: World) -> None:
    kept = state.load()
    kept.sent = [900.0] * SETTINGS.hourly
    state.save(kept)
    world.round(1000)
    assert world.sent == []
    world.round(900 + 3601)
    assert len(world.sent) == 1


def test_failed_deploys_do_not_use_up_what_an_outage_needs(world: World) -> None:
    kept = state.load()
    kept.sent = [900.0] * SETTINGS.hourly
    state.save(kept)
    down = App("links", "links.test", live="r1", failure="502")
    world.seen = Observation(at=0, apps=[down])
    world.round(1000)
    world.round(1300)
    assert len(world.sent) == 1
    assert state.load().sent_urgent == [1300]


def test_deploys_are_reported_if_configured_and_never_earlier_ones(world: World) -> None:
    entry = {"at": "a", "what": "deploy", "release": "r1", "result": "succeeded", "who": "ann"}
    world.seen = Observation(at=0, apps=[App("links", "links.test", last=entry)])
    world.round(1000, deploys=True)
    entry |= {"at": "b", "release": "r2"}
    world.round(1300, deploys=False)
    entry |= {"at": "c", "release": "r3"}
    world.round(1600, deploys=True)
    world.round(1900, deploys=True)
    assert [m.data["events"] for m in world.sent] == [
        ["Deploy of links, release r3 by ann: succeeded"]
    ]


def test_a_message_says_what_where_since_when_and_what_to_do() -> None:
    problem = Problem("disk:/", "full\nreally", "empty it", True, True, "", 1795161600.0)  # noqa: FBT003
    message = messages.message("box", [problem], [], [])
    assert message.subject == "[box] full"
    assert message.text == (
        "Problem   full\n          really\nServer    box\nSince     2026-11-20 08:00 UTC\n"
        "Fix       empty it\nMore      docs/checks.md, disk\n"
        "\nCommands are for the server, as root or with sudo.\n"
    )
    document = json.loads(message.document("box"))
    assert (document["schema"], document["host"]) == (1, "box")
    assert document["data"]["raised"][0]["more"] == "docs/checks.md#disk"
    assert message.text in document["text"]


def test_a_message_without_a_problem_names_no_commands() -> None:
    problem = Problem("disk:/", "full", "empty it", True, True, "", 1795161600.0)  # noqa: FBT003
    message = messages.message("box", [], [problem], ["links was deployed"])
    assert message.text == (
        "Resolved  full\nServer    box\nSince     2026-11-20 08:00 UTC\n\n"
        "Event     links was deployed\nServer    box\n"
    )


def test_status_is_text() -> None:
    kept = state.State()
    assert "The checks have not run yet" in messages.status(kept)
    state.update(kept, [Finding("timer", "a", "x failed", "y", patient=False)], set(), 0, 300)
    kept.at, kept.undelivered = 1795161600.0, {"email": "refused"}
    assert messages.status(kept).splitlines() == [
        "Last round 2026-11-20 08:00 UTC: 1 open problem",
        "timer  x failed  since 1970-01-01 00:00 UTC",
        "could not notify by email: refused",
    ]


def test_nothing_that_goes_wrong_names_a_secret() -> None:
    account = Email(["a@b.test"], "c@d.test", "127.0.0.1", 9, "starttls", "user", HIDDEN)
    notified = [
        channels.post(f"http://127.0.0.1:9/{HIDDEN}", b"{}"),
        channels.ping(f"http://127.0.0.1:9/{HIDDEN}")[0],
        channels.send_email(account, Message("x", "y")),
    ]
    assert all(notified)
    assert HIDDEN not in str(notified)


def test_an_error_is_reported_without_the_address() -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(403, "no such hook")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        notified = channels.post(f"http://127.0.0.1:{server.server_port}/{HIDDEN}", b"{}")
    assert notified == "answered 403 no such hook"


def test_a_command_gets_json_and_its_failure_is_returned(tmp_path: Path) -> None:
    body = Message("head", "text").document("box")
    assert channels.run(f"cat > {tmp_path / 'got'}", body) == ""
    assert json.loads((tmp_path / "got").read_text())["text"] == "head\n\ntext"
    assert channels.run("echo no >&2; exit 3", body) == "exit code 3: no"


def test_a_command_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "PATIENCE", 0.2)
    assert channels.run("sleep 9", b"") == "took longer than 0.2 s"


def test_settings_of_a_newer_onebox_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"schema": 2}')
    with pytest.raises(ValueError, match="has schema 2, expected 1"):
        configuration.read(path)


def test_the_clock_is_compared_with_the_date_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1795161660.0)
    assert observe.skew("Fri, 20 Nov 2026 08:00:00 GMT") == 60
    assert observe.skew(None) is None
