"""The server's environment: recorded once, and never replaced by other settings."""

from __future__ import annotations

import pytest
from pyinfra import logger

from operations.environment import PATH, RecordedEnvironment, check
from settings.exit_codes import REFUSED
from tests.unit.hosts import commands, run, stdin


@pytest.mark.parametrize(
    ("current", "expected"), [("production", "production"), ("", None), (None, None)]
)
def test_nothing_is_done_where_it_matches(current: str | None, expected: str | None) -> None:
    assert commands(check, expected, facts={RecordedEnvironment: current}) == []


def test_a_new_server_records_it() -> None:
    _, file = commands(check, "staging", facts={RecordedEnvironment: None})
    assert stdin(file) == "staging\n"


@pytest.mark.parametrize(
    ("current", "expected", "names"),
    [
        ("production", "staging", ("production", "staging")),
        ("production", None, ("production", "none")),
        ("", "staging", ("none", "staging")),
    ],
)
def test_another_is_refused_with_both_names(
    monkeypatch: pytest.MonkeyPatch, current: str, expected: str | None, names: tuple[str, str]
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(logger, "error", messages.append)
    with pytest.raises(SystemExit) as stopped:
        commands(check, expected, facts={RecordedEnvironment: current})
    assert stopped.value.code == REFUSED
    assert f"has environment {names[0]}, and the inventory has {names[1]}." in messages[0]


def test_the_recorded_environment_is_read() -> None:
    assert PATH in RecordedEnvironment().command()
    assert run(RecordedEnvironment().command()) == []  # nothing was deployed to this machine
    assert RecordedEnvironment().process(["production"]) == "production"
    assert RecordedEnvironment().process([""]) == ""
    assert RecordedEnvironment().default() is None
