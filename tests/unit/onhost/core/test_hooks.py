"""Hooks run in a release; one that fails changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onebox_release.app import App
from onebox_release.core import hooks
from onebox_release.host import systemd

from tests.unit.onhost.fake_server import PARAMETERS, Server

WITH = replace(PARAMETERS, hooks={"after": "true", "failed": "x"})


@pytest.fixture
def side_effects(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record resets and started checks."""
    done: list[str] = []
    monkeypatch.setattr(systemd, "run_checks", lambda: done.append("checks"))
    monkeypatch.setattr(systemd, "reset", lambda unit: done.append(f"reset {unit}"))
    return done


def test_a_hook_gets_all_variables_and_runs_in_the_release(
    server: Server, side_effects: list[str], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("r1", live="r1")
    why = 'two\nlines of "$HOME"'
    placed: dict[str, str] = {}

    def start(*arguments: str, timeout: float | None = 0) -> None:
        del timeout
        server.calls.append(" ".join(arguments))
        placed["text"] = app.hook.read_text()
        placed["mode"] = f"{app.hook.stat().st_mode & 0o777:o}"

    monkeypatch.setattr(systemd, "systemctl", start)
    hooks.run(
        replace(app, override=WITH), "after", release=app.release("r1"), RELEASE="r1", WHY=why
    )
    assert server.calls == ["start links-hook@r1.service"]
    text = placed["text"]
    assert 'ONEBOX_HOOK_COMMAND="true"\n' in text
    assert 'ONEBOX_HOOK_WHY="two\nlines of \\"\\$HOME\\""\n' in text
    assert placed["mode"] == "600"
    assert not app.hook.exists()
    assert side_effects == []


def test_a_hook_that_fails_changes_nothing(
    server: Server, side_effects: list[str], app: App
) -> None:
    server.make("r1", live="r1")
    server.refuses.add("links-hook")
    hooks.run(replace(app, override=WITH), "after", release=app.release("r1"))
    assert side_effects == ["reset links-hook@r1.service"]


@pytest.mark.parametrize(
    ("event", "release"), [("rollback", "r1"), ("failed", None), ("failed", "gone")]
)
def test_a_hook_that_is_not_there_or_has_no_release_is_passed_over(
    server: Server, app: App, event: str, release: str | None
) -> None:
    hooks.run(replace(app, override=WITH), event, release=app.release(release) if release else None)
    assert server.calls == []
