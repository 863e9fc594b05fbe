"""The inventory that ships, and what pyinfra itself does with a good and a bad one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from settings import VM
from settings.exit_codes import REFUSED

PROJECT = Path(__file__).resolve().parents[3]
PYINFRA = Path(sys.executable).with_name("pyinfra")
HIDDEN = "sk_live_a1b2c3"
INVENTORY = """
from settings import servers

hosts = servers({settings}, beside=__file__)
"""
GOOD = {
    "address": "203.0.113.10",
    "apps": [
        {
            "name": "links",
            "source": "app",
            "module": "links.main:app",
            "domains": ["links.example.com"],
            "secrets": ["STRIPE_KEY"],
        }
    ],
}


def pyinfra(folder: Path, settings: object, *command: str) -> subprocess.CompletedProcess[str]:
    (folder / "inventory.py").write_text(INVENTORY.format(settings=settings))
    return subprocess.run(
        [PYINFRA, folder / "inventory.py", *command],
        cwd=PROJECT,
        env={**os.environ, "LINKS_STRIPE_KEY": HIDDEN},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_inventory_that_ships_is_valid() -> None:
    from inventory import hosts

    [(address, data)] = hosts
    vm: VM = data["vm"]
    assert address == vm.address
    assert [app.source for app in vm.apps] == [PROJECT / "app"]


def test_an_inventory_that_nobody_edited_is_told_before_connecting() -> None:
    """It ended in paramiko's traceback of 25 lines."""
    result = subprocess.run(
        [PYINFRA, "-y", "inventory.py", "deploy.py"],
        cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert result.returncode == REFUSED
    _, _, message = result.stderr.partition("Connecting to hosts...\n")
    assert (
        message
        == """\
inventory.py has 3 mistakes; no server was contacted.

address
  expected: your server's address
  found:    the example "203.0.113.10"
  fix:      write its IP address or host name

apps[0].domains[0]
  expected: a domain of yours
  found:    the example "links.example.com"
  fix:      write one that points to the server

tls.email
  expected: an e-mail address of yours
  found:    the example "you@example.com"
  fix:      write yours, or remove `email`
"""
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_pyinfra_shows_no_secret(folder: Path, options: list[str]) -> None:
    result = pyinfra(folder, GOOD, "debug-inventory", *options)
    assert result.returncode == 0, result.stderr
    assert "links.example.com" in result.stdout + result.stderr
    assert "**********" in result.stdout + result.stderr
    for word in (HIDDEN, "Warning"):
        assert word not in result.stdout + result.stderr


def test_pyinfra_refuses_a_bad_inventory_before_it_connects(folder: Path) -> None:
    result = pyinfra(folder, {**GOOD, "ssh_port": 0}, str(PROJECT / "deploy.py"))
    assert result.returncode == REFUSED
    assert result.stderr.endswith(
        "inventory.py has 1 mistake; no server was contacted.\n"
        "\n"
        "ssh_port\n"
        "  expected: 1 or more\n"
        "  found:    0\n"
        "  fix:      write 1 or more\n"
    )
    for word in ("Traceback", "Connecting"):
        assert word not in result.stdout + result.stderr
