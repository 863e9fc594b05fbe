"""Each command of a deploy has the differences that it fixes, or follows one that has."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand

from operations import machine
from operations.difference import Difference, differences_of, fixes
from tests.unit.hosts import deployed
from tests.unit.inventories import a_vm, an_app, read
from tests.unit.test_deploy import DEPLOY


def test_a_command_has_the_differences_that_it_fixes() -> None:
    command = fixes(StringCommand("true"), Difference("/a", "is missing"))
    assert differences_of(command) == (Difference("/a", "is missing"),)
    assert differences_of(StringCommand("true")) == ()


def test_every_step_that_changes_something_has_differences(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_cache", {})
    monkeypatch.setenv("LINKS_STRIPE_KEY", "sk_live_hidden")
    app = an_app(secrets=["STRIPE_KEY"], env={"A": "hidden"}, migrate="alembic upgrade head")
    steps = [step for step in deployed(read(folder, a_vm(app)), *DEPLOY) if step.commands]
    assert len(steps) > 20
    for step in steps:
        differences = [
            difference for command in step.commands for difference in differences_of(command)
        ]
        assert differences, step.name
        assert "hidden" not in str(differences)
