"""System users: created only where one is missing."""

from operations.users import Present, present
from tests.unit.hosts import commands, run, text


def test_users_that_exist_are_told() -> None:
    command = Present().command(["root", "nobody-at-all"])
    assert command == "getent passwd root nobody-at-all | cut -d: -f1"
    assert Present().process(run(command)) == ["root"]
    assert Present().default() == []


def test_nothing_is_done_where_all_are_there() -> None:
    assert commands(present, ["a", "b"], facts={Present: ["b", "a"]}) == []


def test_missing_users_are_created() -> None:
    [command] = commands(present, ["a", "b"], facts={Present: ["a"]})
    assert text(command) == "systemd-sysusers"
