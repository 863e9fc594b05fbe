"""uv, certbot and our own programs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from .connection import Host, owner_and_mode

LOCK = Path(__file__).resolve().parent.parent.parent / "uv.lock"
FOLDER = "/usr/local/lib/onebox"
PROGRAM = "/usr/local/bin/onebox-release"


@pytest.mark.parametrize("tool", ["uv", "certbot"])
def test_tool_has_the_version_that_uv_lock_pins(host: Host, tool: str) -> None:
    packages = tomllib.loads(LOCK.read_text())["package"]
    (pinned,) = [package["version"] for package in packages if package["name"] == tool]
    answer = host.check_output("%s/%s/bin/%s --version", FOLDER, tool, tool)
    assert answer.split()[:2] == [tool, pinned]


def test_onebox_release_is_installed_and_runs(host: Host) -> None:
    program = host.file(PROGRAM)
    assert owner_and_mode(program) == "root:root 755"
    assert host.run("%s --help", PROGRAM).succeeded


def test_only_root_can_write_the_tools(host: Host) -> None:
    command = "find %s %s ! -type l '(' ! -user root -o -perm /022 ')'"
    assert host.check_output(command, FOLDER, PROGRAM) == ""
