"""Which server and app a command selects, and how its mistakes are reported."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from inspect import cleandoc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.exceptions import Exit
from invoke.tasks import Task

import fabfile
from commands import inventory
from commands.server import Server

PROJECT = Path(__file__).resolve().parents[3]
APP = {
    "name": "links",
    "source": str(PROJECT / "app"),
    "module": "links.main:app",
    "domains": ["links.onebox.test"],
}


def fab(*arguments: str, inventory: str = "inventory.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fabric", *arguments],
        cwd=PROJECT, env={**os.environ, "ONEBOX_INVENTORY": inventory}, input="",
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "two.py"
    path.write_text("hosts = [('one', {}), ('two', {})]\n")
    monkeypatch.setenv("ONEBOX_INVENTORY", str(path))


def test_the_only_server_and_the_only_app_need_no_name() -> None:
    address, data = inventory.server()
    assert address == "203.0.113.10"
    assert inventory.app(data["vm"].apps).name == "links"
    assert inventory.server("203.0.113.10")[0] == address


def test_of_several_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two(tmp_path, monkeypatch)
    assert inventory.server("two")[0] == "two"
    for wanted in ("", "three"):
        with pytest.raises(Exit) as stopped:
            inventory.server(wanted)
        assert stopped.value.code == 4
        assert "  --on one\n  --on two" in str(stopped.value.message)
    apps: Any = [SimpleNamespace(name="a"), SimpleNamespace(name="b")]
    assert inventory.app(apps, "b").name == "b"
    with pytest.raises(Exit) as stopped:
        inventory.app(apps)
    assert stopped.value.message == "The server has several apps. Choose one:\n  --app a\n  --app b"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("hosts = servers(\n", "line 1: SyntaxError: '(' was never closed"),
        ("x = 1\nhosts = nothing()\n", "line 2: NameError: name 'nothing' is not defined"),
        ("x = 1\n", "has no `hosts`. Add `hosts = servers(...)`."),
    ],
)
def test_an_inventory_that_can_not_be_read_is_reported_with_its_line(
    tmp_path: Path, text: str, error: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    result = fab("status", inventory=str(path))
    assert result.returncode == 4
    assert str(path) in result.stderr
    assert error in result.stderr
    assert "Traceback" not in result.stderr


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_server_that_can_not_be_reached_is_reported_with_the_fix() -> None:
    _, data = inventory.server()
    port = closed_port()
    reached = Server("127.0.0.1", {**data, "ssh_port": port, "unedited": ""})
    with pytest.raises(Exit) as stopped:
        reached.run("true")
    assert stopped.value.code == 1
    assert stopped.value.message == (
        f"Can't connect to root@127.0.0.1, port {port}: nothing listens on that port. Fix: set"
        " `ssh_port` to the port of its sshd, or start sshd on the server."
    )


@pytest.mark.parametrize("command", ["status", "drift", "preflight", "verify", "deploy"])
def test_every_command_reports_in_one_sentence_why_there_is_no_connection(
    command: str, tmp_path: Path
) -> None:
    path = tmp_path / "closed.py"
    edits = {"address": "127.0.0.1", "ssh_port": closed_port(), "apps": [APP]}
    path.write_text(f"from settings import servers\nhosts = servers({edits}, beside=__file__)\n")
    result = fab(command, inventory=str(path))
    assert result.returncode in {1, 4}
    output = result.stdout + result.stderr
    assert "Traceback" not in output
    assert len(output.splitlines()) < 8
    assert "127.0.0.1" in output


@pytest.mark.parametrize("command", ["status", "drift", "preflight", "verify", "deploy"])
def test_an_inventory_that_nobody_edited_is_told_before_connecting(command: str) -> None:
    result = fab(command)
    assert result.returncode == 4
    assert "inventory.py has 3 mistakes; no server was contacted." in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["status", "--app", "shop"], 4, "  --app links\n"),
        (["status", "--on", "elsewhere"], 4, "  --on 203.0.113.10\n"),
        (["remove"], 4, "To remove links without it: --yes\n"),
        (["logs", "--follow", "--json"], 4, "--json and --follow can't be combined.\n"),
        (["stauts"], 1, "No idea what 'stauts' is!\n"),
    ],
)
def test_a_mistake_is_a_message(arguments: list[str], code: int, message: str) -> None:
    result = fab(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.endswith(message)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--dry", "deploy"], ["-R", "rollback"], ["status", "--dry"]]
)
def test_a_dry_run_that_would_be_none_is_refused(arguments: list[str]) -> None:
    result = fab(*arguments)
    assert result.returncode == 4
    assert "fab drift" in result.stderr


def test_a_folder_that_may_not_be_sent_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("/etc/passwd")
    result = fab("submit", "--app", "links", "--source", str(tmp_path), "--to", "127.0.0.1")
    assert (result.returncode, result.stdout) == (4, "")
    problem = "a.txt is a link out of the folder: /etc/passwd"
    assert result.stderr.startswith(f"{tmp_path} can't be packed; nothing was sent.\n  {problem}\n")
    assert "Traceback" not in result.stderr


def test_an_inventory_that_does_not_exist_is_reported() -> None:
    result = fab("status", inventory="no.py")
    assert result.returncode == 4
    assert result.stderr == "There is no inventory no.py. Set ONEBOX_INVENTORY to yours.\n"


def test_every_command_has_an_example_and_explains_its_options() -> None:
    tasks = [value for value in vars(fabfile).values() if isinstance(value, Task)]
    assert len(tasks) >= 14
    for task in tasks:
        example = cleandoc(task.__doc__ or "").partition("\nExample: ")[2]
        assert f"fab {task.name}" in example, task.name
        options = {option.name: option for option in task.get_arguments()}  # once: it takes `help`
        assert all(option.help for option in options.values()), task.name
        for name, letter in (("on", "o"), ("app", "a")):
            assert name not in options or letter in options[name].names, task.name
