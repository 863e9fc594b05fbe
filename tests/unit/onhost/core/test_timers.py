"""Timers run in the live release, and each run is recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from onebox_release.app import App
from onebox_release.core import timers
from onebox_release.errors import RefusedError
from onebox_release.host import systemd

from tests.unit.onhost.fake_server import PARAMETERS, Server

WITH = replace(PARAMETERS, timers=["report"])
UNIT = "links-report@r1.service"


@pytest.fixture
def side_effects(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record resets and started checks; the folder of results is there."""
    done: list[str] = []
    monkeypatch.setattr(systemd, "run_checks", lambda: done.append("checks"))
    monkeypatch.setattr(systemd, "reset", lambda unit: done.append(f"reset {unit}"))
    server.app.timer_result("report").parent.mkdir()
    return done


def test_a_timer_runs_in_the_live_release_and_is_recorded(
    server: Server, side_effects: list[str], app: App
) -> None:
    server.make("r1", live="r1")
    timers.run(replace(app, override=WITH), "report")
    assert server.calls == [f"start {UNIT}"]
    assert server.waited == [
        ("onebox-release-links.service", 0),
        ("links-report@*.service", 0),
    ], "no deploy is under way, and no other run"
    run = json.loads(app.timer_result("report").read_text())
    assert (run["result"], run["release"]) == ("success", "r1")
    assert timers.last(replace(app, override=WITH)) == {"report": run}
    assert side_effects == []


def test_a_failed_timer_starts_the_checks_at_once(
    server: Server, side_effects: list[str], app: App
) -> None:
    server.make("r1", live="r1")
    server.crashed.add(UNIT)
    timers.run(replace(app, override=WITH), "report")
    run = json.loads(app.timer_result("report").read_text())
    assert (run["result"], run["excerpt"]) == ("exit-code", f"last words of {UNIT}")
    assert side_effects == [f"reset {UNIT}", "checks"]


def test_a_timer_that_systemd_does_not_know_did_not_run(
    server: Server, side_effects: list[str], app: App
) -> None:
    server.make("r1", live="r1")
    server.refuses.add(UNIT)
    timers.run(replace(app, override=WITH), "report")
    assert json.loads(app.timer_result("report").read_text())["result"] == "not started"
    assert "checks" in side_effects


def test_without_a_live_release_there_is_nothing_to_run_in(
    server: Server, side_effects: list[str], app: App
) -> None:
    timers.run(replace(app, override=WITH), "report")
    assert (server.calls, side_effects, timers.last(replace(app, override=WITH))) == ([], [], {})


def test_a_timer_that_the_app_does_not_have_is_refused(
    server: Server, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    server.make("r1", live="r1")
    with pytest.raises(RefusedError, match=r"links has no timer 'web'\. It has: report\."):
        timers.run(replace(app, override=WITH), "web")
    assert server.calls == []


def test_a_timer_that_a_deploy_is_removing_ends_quietly(
    server: Server, app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its unit's file may be gone, and then any other exit code is a failure to systemd."""
    monkeypatch.setenv("INVOCATION_ID", "a" * 32)
    server.make("r1", live="r1")
    timers.run(replace(app, override=WITH), "web")
    assert "web did not run: it is no longer a timer of links" in "".join(capsys.readouterr())
    assert server.calls == []


def test_releases_that_a_timer_runs_in(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def units(*filters: str) -> list[str]:
        asked.append(filters)
        return [UNIT, "links-report@r1.0.service"]

    monkeypatch.setattr(systemd, "units", units)
    assert timers.running(replace(app, override=WITH)) == {"r1", "r1.0"}
    assert asked == [("--state=activating,active,deactivating", "links-report@*.service")]
    assert timers.running(app) == set()
