"""Timers that are no longer in the inventory."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import timers
from operations.difference import Difference, differences_of
from tests.unit.hosts import commands, run, text


def test_only_an_apps_own_timers_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "UNITS", str(tmp_path))
    for name in ("links-report", "links-x-report", "other-report"):
        (tmp_path / f"onebox-timer-{name}.timer").touch()
    (tmp_path / "onebox-timer-links-report.service").touch()
    assert run(timers.InstalledTimers().command("links")) == ["report"]


def test_only_obsolete_timers_are_removed() -> None:
    facts = {timers.InstalledTimers: ["report", "old"]}
    assert commands(timers.remove, app="links", expected=["report", "old"], facts=facts) == []
    [command] = commands(timers.remove, app="links", expected=["report"], facts=facts)
    assert "systemctl disable --quiet --now onebox-timer-links-old.timer" in text(command)
    assert "/etc/systemd/system/links-old@.service" in text(command)
    assert "report" not in text(command)
    assert differences_of(command) == (
        Difference("onebox-timer-links-old.timer", "belongs to no timer in the inventory"),
    )


def test_a_timer_that_became_a_process_keeps_that_unit() -> None:
    facts = {timers.InstalledTimers: ["old"]}
    [command] = commands(timers.remove, app="links", expected=[], processes=["old"], facts=facts)
    assert "onebox-timer-links-old.timer" in text(command)
    assert "links-old@.service" not in text(command)
