"""Timers that are no longer wanted, and the sums of what was placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import jobs, manifest
from operations.difference import Difference, mended
from tests.unit.hosts import commands, run, text


def test_only_an_apps_own_timers_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "UNITS", str(tmp_path))
    for name in ("links-report", "links-x-report", "other-report"):
        (tmp_path / f"onebox-job-{name}.timer").touch()
    (tmp_path / "onebox-job-links-report.service").touch()
    assert run(jobs.Scheduled().command("links")) == ["report"]


def test_what_is_wanted_stays() -> None:
    facts = {jobs.Scheduled: ["report", "old"]}
    assert commands(jobs.gone, app="links", wanted=["report", "old"], facts=facts) == []
    [command] = commands(jobs.gone, app="links", wanted=["report"], facts=facts)
    assert "systemctl disable --quiet --now onebox-job-links-old.timer" in text(command)
    assert "/etc/systemd/system/links-old@.service" in text(command)
    assert "report" not in text(command)
    assert mended(command) == (
        Difference("onebox-job-links-old.timer", "is of no timer in the settings"),
    )


def test_a_timer_that_became_a_process_keeps_that_unit() -> None:
    facts = {jobs.Scheduled: ["old"]}
    [command] = commands(jobs.gone, app="links", wanted=[], processes=["old"], facts=facts)
    assert "onebox-job-links-old.timer" in text(command)
    assert "links-old@.service" not in text(command)


def test_sums_are_written_where_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, path = tmp_path / "file", str(tmp_path / "manifest")
    file.write_text("a")
    monkeypatch.setattr(manifest, "SUMS", f"sha256sum {file}")

    def same() -> bool:
        return manifest.Same().process(run(manifest.Same().command(path)))

    assert not same()
    facts = {manifest.Same: False}
    [command] = commands(manifest.written, path, facts=facts)
    run(command)
    assert same()
    assert Path(path).stat().st_mode & 0o777 == 0o600
    file.write_text("b")
    assert not same()
    assert commands(manifest.written, path, facts={manifest.Same: True}) == []
