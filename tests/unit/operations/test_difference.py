"""Each command of a deploy tells what it mends, or belongs to one that does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand

from operations import machine
from operations.difference import Difference, differences_of, fixes
from tests.unit.hosts import deployed
from tests.unit.inventories import a_vm, an_app, read
from tests.unit.test_deploy import DEPLOY


def test_a_command_tells_what_it_mends() -> None:
    command = fixes(StringCommand("true"), Difference("/a", "is missing"))
    assert differences_of(command) == (Difference("/a", "is missing"),)
    assert differences_of(StringCommand("true")) == ()


def test_every_step_that_changes_something_tells_what(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_cache", {})
    monkeypatch.setenv("LINKS_STRIPE_KEY", "sk_live_hidden")
    app = an_app(secrets=["STRIPE_KEY"], env={"A": "hidden"}, migrate="alembic upgrade head")
    steps = [step for step in deployed(read(folder, a_vm(app)), *DEPLOY) if step.commands]
    assert len(steps) > 20
    for step in steps:
        told = [difference for command in step.commands for difference in differences_of(command)]
        assert told, step.name
        assert "hidden" not in str(told)
