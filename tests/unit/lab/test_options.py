"""lab/options.py: options and their errors."""

import pytest

from lab.cli import COMMANDS
from lab.options import parser


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        parser().parse_args(arguments)
    assert exit_.value.code == 1
    return capsys.readouterr().err.splitlines()[0]


def test_up_takes_sizes_in_powers_of_1024() -> None:
    args = parser().parse_args(["up", "web", "--memory", "512M", "--disk", "4G", "--cpus", "2"])
    assert (args.memory, args.disk, args.cpus) == (512 << 20, 4 << 30, 2)


def test_up_needs_nothing() -> None:
    args = vars(parser().parse_args(["up"]))
    assert args.pop("command") == "up"
    assert args.pop("domain") == []
    assert set(args.values()) == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--disk", "4"], "argument --disk: '4' is not a size such as 512M or 4G"),
        (["up", "--disk", "0G"], "argument --disk: '0G' is not a size such as 512M or 4G"),
        (["up", "--cpus", "0"], "argument --cpus: '0' is not a whole number from 1"),
        (
            ["up", "--domain", "WWW.test"],
            "argument --domain: 'WWW.test' is not a domain such as www.example.test",
        ),
        (["up", "--debian", "11"], "argument --debian: invalid choice: 11 (choose from 12, 13)"),
        (["down", "web", "--all"], "argument --all: not allowed with argument NAME"),
    ],
)
def test_an_error_gives_the_value_and_what_was_expected(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert error(capsys, *arguments) == f"lab {arguments[0]}: {message}"


def test_a_command_for_ssh_keeps_its_own_options() -> None:
    args = parser().parse_args(["ssh", "web", "--", "ls", "-l", "--all"])
    assert (args.name, args.remote) == ("web", ["ls", "-l", "--all"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parser().parse_args([command, "--help"])
    assert exit_.value.code == 0
    assert f"Example: python -m lab {command}" in capsys.readouterr().out


def test_help_explains_when_a_hard_power_off_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["poweroff", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "without --disk the processes are killed and no file is lost" in text
