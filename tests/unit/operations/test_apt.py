"""Debian packages: only what is missing is installed, in one transaction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from operations.apt import APT, Installed, Timekeeper, installed
from tests.unit.hosts import commands, run, text


def test_only_packages_that_are_wholly_there_count() -> None:
    output = ["installed nginx", "config-files certbot", "half-installed uv", "not-installed git"]
    assert Installed().process(output) == ["nginx"]
    assert Installed().default() == []


def test_one_command_asks_for_all() -> None:
    assert Installed().command(["nginx", "git"]) == (
        "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' nginx git 2>/dev/null || true"
    )


def test_nothing_is_done_where_nothing_is_missing() -> None:
    assert commands(installed, ["git", "nginx"], facts={Installed: ["nginx", "git"]}) == []


def test_what_is_missing_is_installed_at_once() -> None:
    update, install = commands(installed, ["a", "b", "c"], facts={Installed: ["b"]})
    assert text(update) == f"{APT} -o APT::Update::Error-Mode=any update"
    assert text(install) == f"{APT} install --no-install-recommends a c"


def test_no_installation_asks_or_restarts_an_app() -> None:
    assert APT.startswith("env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq ")


@pytest.mark.parametrize(
    ("container", "listed", "found"),
    [
        (False, "installed bash \ninstalled chrony time-daemon, ntp-server\n", "chrony"),
        (False, "config-files ntpsec ntp, time-daemon\ninstalled bash \n", ""),
        (False, "installed systemd-timesyncd time-daemon\n", "systemd-timesyncd"),
        (True, "installed bash \n", "container"),
    ],
)
def test_what_keeps_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, found: str, *, container: bool
) -> None:
    programs = {
        "systemd-detect-virt": f"exit {int(not container)}",
        "dpkg-query": f"printf '{listed}'",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Timekeeper().process(run(Timekeeper().command())) == found
    assert Timekeeper().default() == ""
