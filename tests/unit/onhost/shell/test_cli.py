"""The command, as a person or the deployer types it."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from onebox_release.app import App
from onebox_release.core import history, identity, release
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import lock, systemd
from onebox_release.shell import cli, keys, submit, transient_unit

from tests.unit.onhost.fake_server import PARAMETERS, Server

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def command(app: App, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command as root, on a server with the app `links`."""
    app.parameters_file.write_text(json.dumps({"schema": 1, "data": asdict(PARAMETERS)}))
    monkeypatch.setattr(cli, "App", lambda name: App(name, app.root))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["onebox-release", *arguments])
        return cli.main()

    return run


def test_help_shows_what_to_type_at_three_in_the_morning(
    command: Callable[..., int], capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command("--help")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for line in (
        "Roll back to the previous release:                onebox-release rollback links",
        " Roll back to an earlier release, without a failed request.\n",
        " Show the status of an app and its server.\n",
        "Exit codes: 0 done or nothing to do, 1 failed, 3 another deploy is under way, 4 refused.",
    ):
        assert line in out
    assert "--inside" not in out


def test_an_unknown_app_is_reported_with_the_known_ones(
    command: Callable[..., int], capsys: Captured
) -> None:
    assert command("status", "shop") == 1
    assert capsys.readouterr().err == "This server has no app 'shop'. Its apps: links.\n"


def test_it_wants_root(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert command("status", "links") == 1
    assert capsys.readouterr().err == "onebox-release must run as root: use sudo.\n"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (None, 0, ""),
        (ReleaseError("no"), 1, "no\n"),
        (LockedError("no"), 3, "no\n"),
        (RefusedError("no"), 4, "no\n"),
        (OSError(28, "full"), 1, "The operating system reported: [Errno 28] full\n"),
    ],
)
def test_what_went_wrong_is_one_exit_code_and_one_message(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    error: Exception | None,
    code: int,
    told: str,
) -> None:
    def deploy(*_: object, **__: object) -> None:
        if error:
            raise error

    monkeypatch.setattr(release, "deploy", deploy)
    assert command("deploy", "links", "abc", "--inside") == code
    assert capsys.readouterr() == ("", told)


def test_a_deploy_key_s_archive_is_brought_when_its_deploy_begins(
    command: Callable[..., int], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transient_unit, "run", lambda *_, **__: LockedError.code)
    monkeypatch.setattr(release, "deploy", lambda *_, **__: None)
    app.uploads.mkdir()
    waiting, brought = app.upload("2", "abc"), app.incoming("abc")
    waiting.write_text("archive")
    monkeypatch.setattr(keys, "apps", {"SHA256:abc": ["links"]}.__getitem__)
    arguments = ["deploy", "links", "abc", "--by-key", "SHA256:abc", "--upload", "2"]
    assert command(*arguments) == LockedError.code
    assert waiting.exists()
    assert not brought.exists()
    assert command(*arguments, "--inside") == 0
    assert not waiting.exists()
    assert brought.exists()


@pytest.mark.parametrize("by_key", [True, False])
def test_a_deploy_that_waited_begins_only_if_it_still_may(
    command: Callable[..., int],
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    *,
    by_key: bool,
) -> None:
    """Deploys are on hold since, or the key was taken out of the settings."""
    begun: list[object] = []
    rights = ["links"]
    monkeypatch.setattr(lock, "HOLD", app.root / "hold.json")
    monkeypatch.setattr(keys, "apps", lambda _: rights)
    monkeypatch.setattr(submit, "move_upload", lambda *_: begun.append("brought"))
    monkeypatch.setattr(release, "deploy", lambda *_, **__: begun.append("deployed"))
    monkeypatch.setattr(transient_unit, "run", lambda *_, check, **__: check() or 7)
    arguments = ["deploy", "links", "abc"]
    arguments += ["--by-key", "SHA256:abc", "--upload", "2"] if by_key else []
    assert command(*arguments) == 7
    lock.HOLD.write_text(json.dumps({"at": "1", "who": "ann", "why": "incident"}))
    assert [command(*arguments, *inside) for inside in ([], ["--inside"])] == [3, 3]
    told = "Deploys are on hold since 1: incident\n" if by_key else "since 1, by ann: incident\n"
    assert told in capsys.readouterr().err
    lock.HOLD.unlink()
    rights.clear()
    if by_key:
        assert [command(*arguments, *inside) for inside in ([], ["--inside"])] == [4, 4]
    assert begun == []


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["deploy", "links", "abc"], ("deploy", "abc", {"consent": False})),
        (["deploy", "links", "abc", "--allow-incompatible"], ("deploy", "abc", {"consent": True})),
        (["rollback", "links"], ("rollback", None, {"force": False})),
        (["rollback", "links", "a-1", "--force"], ("rollback", "a-1", {"force": True})),
    ],
)
def test_what_changes_something_runs_in_its_unit(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    call: tuple[object, ...],
) -> None:
    calls: list[object] = []

    def doing(name: str) -> Callable[..., None]:
        return lambda _app, what, **options: calls.append((name, what, options))

    def in_unit(
        _: App, given: list[str], *, recover: bool, wait: float, secret: str, check: object
    ) -> int:
        del check
        assert (recover, wait, secret) == (True, 600, "")
        calls.append(given)
        return 7

    monkeypatch.setattr(release, "deploy", doing("deploy"))
    monkeypatch.setattr(release, "rollback", doing("rollback"))
    monkeypatch.setattr(transient_unit, "run", in_unit)
    assert command(*arguments) == 7
    assert command(*arguments, "--inside") == 0
    assert calls == [arguments, call]


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "links", "abc", "--inside"],
        ["rollback", "links", "--inside"],
        ["recover", "links", "--inside"],
        ["recover", "links"],
    ],
)
def test_one_change_at_a_time(
    command: Callable[..., int],
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    arguments: list[str],
) -> None:
    calls: list[str] = []
    locked: list[bool] = []

    def change(*_: object, **__: object) -> None:
        calls.append(arguments[0])
        with app.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(True)

    monkeypatch.setattr(release, arguments[0], change)
    monkeypatch.setattr(lock, "WAIT", 0.3)
    with app.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert command(*arguments) == 3
    told = "A deploy of links is under way. Gave up after 0.3 s.\n"
    assert capsys.readouterr().err == told
    assert calls == []
    assert command(*arguments) == command(*arguments) == 0
    assert (calls, locked) == ([arguments[0]] * 2, [True, True])


def test_the_lock_is_for_root_alone(
    command: Callable[..., int], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "recover", lambda *_: None)
    before = os.umask(0o022)
    command("recover", "links")
    os.umask(before)
    assert app.lock.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("server")
def test_reading_the_lock_waits_for_nobody(
    command: Callable[..., int], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release("c-3"))
    with app.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert command("status", "links") == command("plan", "links", "abc") == 0


def told(capsys: Captured) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["app"]) == (1, "links")
    data: dict[str, Any] = document["data"]
    return data


def test_status_as_json_and_as_text(
    command: Callable[..., int], server: Server, capsys: Captured
) -> None:
    server.make("a-1", "b-2", live="b-2")
    for before, name in (("", "a-1"), ("a-1", "b-2")):
        history.record(server.app, what="deploy", release=name, before=before, result="succeeded")
    assert command("status", "links", "--json") == 0
    data = told(capsys)
    assert data["last"]["release"] == "b-2"
    assert data["since"] == data["last"]["at"]
    assert (data["live"], data["up"], data["healthy"]) == ("b-2", ["b-2"], ["b-2", "a-1"])
    assert data["deploying"] is False
    assert command("status", "links") == 0
    assert "\nkept          a-1\n" in capsys.readouterr().out


@pytest.mark.usefixtures("server")
def test_a_server_without_a_release_says_none(
    command: Callable[..., int], capsys: Captured
) -> None:
    assert command("status", "links") == 0
    assert "\nlive          nothing\n" in capsys.readouterr().out


def test_a_plan_names_both_releases_and_what_is_up(
    command: Callable[..., int],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release("c-3"))
    assert command("plan", "links", "abc") == 0
    bare: dict[str, Any] = {"release": "c-3", "live": None, "up": [], "differences": []}
    assert told(capsys) == {**bare, "digest": "abc", "by_key": False}
    server.make("b-2", live="b-2")
    server.up |= {"a-1"}
    monkeypatch.setattr(systemd, "is_active", lambda unit: unit.endswith(".target"))
    assert command("plan", "links", "abc") == 0
    data = told(capsys)
    units = ["links-web@b-2.service", "links-queue@b-2.service", "links-web@b-2.socket"]
    assert data.pop("differences") == [[unit, "is stopped"] for unit in units]
    rest = {"digest": "abc", "by_key": False}
    assert data == {"release": "c-3", "live": "b-2", "up": ["a-1", "b-2"], **rest}


@pytest.mark.parametrize("who", ["a deploy key of links", "A deploy key of links"])
def test_a_plan_for_the_live_releases_own_archive(
    command: Callable[..., int],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    who: str,
) -> None:
    monkeypatch.setattr(identity, "configuration", lambda *_: "2")
    assert command("plan", "links", "live") == 0
    nothing = told(capsys)
    assert (nothing["digest"], nothing["release"]) == (None, None)
    serving = f"{identity.artifact('abc')}-1"
    server.make(serving, live=serving)
    history.record(server.app, what="deploy", release=serving, result="succeeded", who=who)
    assert command("plan", "links", "live") == 0
    assert told(capsys)["digest"] is None
    server.app.incoming("abc").write_bytes(b"")
    assert command("plan", "links", "live") == 0
    data = told(capsys)
    assert (data["digest"], data["by_key"]) == ("abc", True)
    assert data["release"] == f"{identity.artifact('abc')}-2"


def test_a_hold_is_written_with_its_reason_and_lifted(
    command: Callable[..., int], app: App, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(lock, "HOLD", app.state / "hold.json")
    monkeypatch.setenv("SUDO_USER", "ann")
    assert command("hold", "the sale") == 0
    assert lock.hold_reason().endswith(", by ann: the sale")
    assert command("unhold") == command("unhold") == 0
    assert lock.hold_reason() == ""
    assert capsys.readouterr().err.splitlines() == [
        "Deploys to this server are blocked until `unhold`.",
        *["Deploys to this server are allowed."] * 2,
    ]


def test_a_hold_may_be_recorded_for_another_user(
    command: Callable[..., int], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HOLD", app.state / "hold.json")
    assert command("hold", "the sale", "--who", "bob at home") == 0
    assert lock.hold_reason().endswith(", by bob at home: the sale")


def test_a_removal_must_be_confirmed_and_recovers_nothing_at_its_end(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered: list[bool] = []

    def run(_: App, arguments: list[str], *, recover: bool, **more: object) -> int:
        del arguments, more
        recovered.append(recover)
        return 0

    monkeypatch.setattr(transient_unit, "run", run)
    assert command("remove", "links") == 4
    assert recovered == []
    assert command("remove", "links", "--yes") == command("restart", "links") == 0
    assert recovered == [False, True]


def test_a_hold_that_cannot_be_written_is_reported(
    command: Callable[..., int],
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setattr(lock, "HOLD", app.state / "absent/hold.json")
    assert command("hold", "the sale") == 1
    assert capsys.readouterr().err.startswith("The operating system reported: ")


@pytest.mark.parametrize(
    "arguments", [["rolback", "links"], ["deploy", "links"], ["status", "links", "--jsn"], []]
)
def test_a_mistyped_command_is_not_drift(
    command: Callable[..., int], capsys: Captured, arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == 1
    usage, *_, last = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: onebox-release ")
    assert last.startswith("onebox-release")
