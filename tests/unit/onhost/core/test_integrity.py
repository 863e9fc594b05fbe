"""A release that was altered, and units that were overridden, are seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from onebox_release.app import App
from onebox_release.core import integrity
from onebox_release.host import systemd

from tests.unit.onhost.fake_server import Server

UNIT = "# Made by onebox.\n[Unit]\n"


@pytest.fixture
def release(server: Server) -> App:
    """A release as build leaves it."""
    app = server.app
    server.make("a-1", live="a-1")
    folder = app.release("a-1").folder
    (folder / "app/main.py").write_text("app = None\n")
    (folder / "app/helper.py").write_text("x = 1\n")
    venv = folder / "venv"
    (venv / "lib").mkdir()
    (venv / "lib/fastapi.py").write_text("good\n")
    integrity.write_manifest(venv.resolve(), contents=False)
    (venv / ".complete").touch()
    integrity.write_manifest(folder, app.release("a-1").environment, contents=True)
    return app


def test_a_release_that_nobody_touched_is_as_it_was(release: App) -> None:
    assert integrity.altered(release.release("a-1")) == []


@pytest.mark.parametrize(
    ("path", "alter", "how"),
    [
        ("app/main.py", lambda path: path.write_text("app = Nine\n"), "was altered"),
        ("app/main.py", lambda path: path.chmod(0o666), "was altered"),
        ("app/helper.py", lambda path: path.unlink(), "is missing"),
        ("app/more.py", lambda path: path.touch(), "is extra"),
        ("run", lambda path: path.symlink_to("/elsewhere"), "is extra"),
        ("venv/lib/fastapi.py", lambda path: path.write_text("longer\n"), "was altered"),
        ("venv/lib/fastapi.py", lambda path: os.utime(path, (1, 1)), "was altered"),
        ("venv/lib/more.py", lambda path: path.touch(), "is extra"),
    ],
)
def test_what_was_altered_is_named(
    release: App, path: str, alter: Callable[[Path], object], how: str
) -> None:
    file = release.release("a-1").folder / path
    alter(file)
    assert integrity.altered(release.release("a-1")) == [(str(file), how)]


def test_the_environment_of_a_release_belongs_to_it(release: App) -> None:
    path = release.release("a-1").environment
    path.write_text("DEBUG=1\n")
    assert integrity.altered(release.release("a-1")) == [(str(path), "was altered")]


def test_bytecode_that_root_left_is_no_change(release: App) -> None:
    folder = release.release("a-1").folder / "app/__pycache__"
    folder.mkdir()
    (folder / "main.cpython-311.pyc").touch()
    assert integrity.altered(release.release("a-1")) == []


def test_a_release_of_an_older_onebox_has_no_manifest_to_compare(server: Server) -> None:
    server.make("a-1")
    assert integrity.altered(server.app.release("a-1")) == []
    assert integrity.altered(server.app.release("gone")) == []


def unit(app: App, name: str, text: str = UNIT, folder: str = "etc/systemd/system") -> Path:
    path = app.root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_overrides_a_unit_is_found_and_set_aside(app: App) -> None:
    for name in (
        "links@.target",
        "links-web@.service",
        "links-web@.socket",
        "links-queue@.service",
    ):
        unit(app, name)
    unit(app, "links-x-web@.service.d/theirs.conf")
    unit(app, "nginx.service.d/theirs.conf")
    drop_ins = [
        unit(app, "links-web@.service.d/a.conf"),
        unit(app, "links-web@a-1.service.d/b.conf"),
        unit(app, "links-queue@a-1.service.d/50.conf", folder="run/systemd/system.control"),
    ]
    mask = app.root / "etc/systemd/system/links-queue@a-1.service"
    mask.symlink_to("/dev/null")
    assert integrity.overrides(app) == sorted([*drop_ins, mask])
    integrity.set_aside(app)
    assert integrity.overrides(app) == []
    assert all(path.with_name(f"{path.name}.set-aside").exists() for path in drop_ins)
    assert not mask.is_symlink()
    assert (app.root / "etc/systemd/system/links-x-web@.service.d/theirs.conf").exists()


def test_the_unit_of_a_process_that_is_no_more_is_swept(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(systemd, "systemctl", calls.append)
    kept = [
        unit(app, "links-queue@.service"),
        unit(app, "links-x-web@.service"),  # of the app links-x
        unit(app, "links-backup@.service", "[Unit]\n"),  # an administrator's own
    ]
    gone = unit(app, "links-mailer@.service")
    assert integrity.leftovers(app) == [gone]
    assert integrity.leftovers(app.with_parameters(units=[])) == []
    integrity.sweep(app)
    integrity.sweep(app)
    assert calls == ["daemon-reload"]
    assert not gone.exists()
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(("started", "told"), [("@1000", True), ("@3000", False), ("", False)])
def test_a_process_that_was_started_before_its_unit_was_repaired_is_reported(
    release: App, monkeypatch: pytest.MonkeyPatch, started: str, *, told: bool
) -> None:
    path = unit(release, "links-web@.service")
    os.utime(path, (2000, 2000))
    monkeypatch.setattr(systemd, "show", lambda *_: {"ActiveEnterTimestamp": started})
    found = integrity.runtime_differences(release.release("a-1"))
    words = "was started before its files were changed"
    names = ["links-web@a-1.service", "links-queue@a-1.service"]
    assert found == [(name, words) for name in names] * told


def test_a_live_release_that_does_not_answer_is_reported(server: Server) -> None:
    server.make("a-1", live="a-1")
    assert integrity.not_serving(server.app.release("a-1")) == []
    server.up = set()
    [(what, how)] = integrity.not_serving(server.app.release("a-1"))
    assert (what, how[:16]) == ("release a-1", "does not serve: ")
    assert f"the release does not listen on socket {server.app.release('a-1').socket}" in how


def test_a_live_release_whose_process_keeps_crashing_is_reported(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("a-1", live="a-1")
    state = {"NRestarts": "7", "SubState": "auto-restart", "Result": "exit-code"}
    crashing = "links-queue@a-1.service"
    monkeypatch.setattr(
        systemd, "show", lambda unit, *_: state if unit == crashing else {"NRestarts": "1"}
    )
    assert integrity.not_serving(server.app.release("a-1")) == [
        ("release a-1", "does not serve: links-queue@a-1.service keeps crashing")
    ]
    state["Result"] = "success"  # a worker that ends by itself, to be started afresh
    assert integrity.not_serving(server.app.release("a-1")) == []
