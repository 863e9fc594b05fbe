"""What a server is: remembered once, and never given up for other settings."""

from __future__ import annotations

import pytest
from pyinfra import logger

from operations.environment import PATH, REFUSED, Remembered, remembered
from tests.unit.hosts import commands, run, stdin


@pytest.mark.parametrize(
    ("there", "wanted"), [("production", "production"), ("", None), (None, None)]
)
def test_nothing_is_done_where_it_is_remembered(there: str | None, wanted: str | None) -> None:
    assert commands(remembered, wanted, facts={Remembered: there}) == []


def test_a_new_server_remembers() -> None:
    _, file = commands(remembered, "staging", facts={Remembered: None})
    assert stdin(file) == "staging\n"


@pytest.mark.parametrize(
    ("there", "wanted", "names"),
    [
        ("production", "staging", ("production", "staging")),
        ("production", None, ("production", "none")),
        ("", "staging", ("a server without an environment", "staging")),
    ],
)
def test_another_is_refused_with_both_names(
    monkeypatch: pytest.MonkeyPatch, there: str, wanted: str | None, names: tuple[str, str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(logger, "error", said.append)
    with pytest.raises(SystemExit) as stopped:
        commands(remembered, wanted, facts={Remembered: there})
    assert stopped.value.code == REFUSED
    assert f"is {names[0]}, and these settings are for {names[1]}." in said[0]


def test_what_a_server_says_is_understood() -> None:
    assert PATH in Remembered().command()
    assert run(Remembered().command()) == []  # nothing was deployed to this machine
    assert Remembered().process(["production"]) == "production"
    assert Remembered().process([""]) == ""
    assert Remembered().default() is None
