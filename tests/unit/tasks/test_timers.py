"""Timers: only those of the apps that are deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import machine as machine_module
from tasks.timers import timers
from tests.unit.hosts import deployed
from tests.unit.inventories import a_vm, an_app, read

TIMER = {"command": "true", "schedule": "daily"}


def test_a_deploy_of_one_app_leaves_the_others_timers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "_cache", {})
    links = an_app(timers=[{"name": "report", **TIMER}])
    other = an_app(name="other", domains=["other.example.com"], timers=[{"name": "clean", **TIMER}])
    vm = read(folder, a_vm(links, other))
    names = [step.name for step in deployed(vm, timers, app="links")]
    assert any("report of links" in name for name in names)
    assert not any("other" in name for name in names)
