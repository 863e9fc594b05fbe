"""A paused app: nothing of it runs, and nothing of it is started."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
from onebox_release.core import pause, release, timers
from onebox_release.errors import ReleaseError
from onebox_release.host import systemd
from onebox_release.shell import cli

from tests.unit.onhost.fake_server import PARAMETERS, Server

WITH = replace(PARAMETERS, timers=["report"])


def test_all_that_an_app_runs_is_stopped_after_no_job_can_begin(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.make("r1", live="r1")
    pause.pause(replace(server.app, override=WITH))
    assert pause.is_paused(server.app)
    assert server.waited == [("links-report@*.service", 0)]
    assert server.patience == pause.PATIENCE
    [call] = server.calls
    assert call.split() == [
        "stop", "links@*.target", "links-web@*.socket", "links-report@*.service",
        "links-web@*.service", "links-migrate@*.service", "links-hook@*.service",
        "links-queue@*.service", "onebox-run-links@*.service",
    ]  # fmt: skip
    assert "links is paused" in capsys.readouterr().err


def test_a_job_that_does_not_end_is_stopped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise ReleaseError("still running")

    monkeypatch.setattr(systemd, "wait_until_inactive", busy)
    pause.pause(replace(server.app, override=WITH))
    assert "links-report@*.service" in server.calls[-1]


def test_no_job_of_a_paused_app_is_run(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.make("r1", live="r1")
    server.app.paused.touch()
    timers.run(replace(server.app, override=WITH), "report")
    assert server.calls == []
    assert "report did not run: links is paused" in capsys.readouterr().err


def test_a_boot_leaves_a_paused_app_down_and_resume_starts_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(release, "recover", lambda *_: started.append("up"))
    server.app.paused.touch()
    cli._recover(server.app, argparse.Namespace())
    assert started == []
    cli._resume(server.app, argparse.Namespace())
    assert started == ["up"]
    assert not pause.is_paused(server.app)
    cli._recover(server.app, argparse.Namespace())
    assert started == ["up", "up"]


def test_a_paused_app_that_is_removed_leaves_no_mark(server: Server) -> None:
    assert server.app.paused in server.app.all_paths()
