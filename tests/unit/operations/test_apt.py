"""Debian packages: only what is missing is installed, in one transaction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from operations.apt import APT, Installed, TimeDaemon, install
from tests.unit.hosts import commands, run, text

DPKG = """#!/bin/sh
cat <<'END'
installed nginx, httpd, httpd-cgi
config-files certbot,
half-installed uv,
not-installed git, vcs
installed libmagic1t64, libmagic1 (= 1:5.46-5)
installed python3.13, python3.13:any
END
"""


@pytest.fixture
def dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dpkg-query that answers as Debian's."""
    program = tmp_path / "dpkg-query"
    program.write_text(DPKG)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("dpkg")
def test_only_installed_packages_count() -> None:
    packages = ["nginx", "certbot", "uv", "git", "vcs", "libmagic", "ngin", "nginx."]
    assert Installed().process(run(Installed().command(packages))) == ["nginx"]
    assert run(Installed().command(["git"])) == []
    assert Installed().default() == []


@pytest.mark.usefixtures("dpkg")
def test_a_name_that_an_installed_package_provides_counts() -> None:
    """Each deploy installed Debian 13's libmagic1 again."""
    found = run(Installed().command(["libmagic1", "httpd"]))
    assert commands(install, ["libmagic1", "httpd"], facts={Installed: found}) == []


def test_nothing_is_done_where_nothing_is_missing() -> None:
    assert commands(install, ["git", "nginx"], facts={Installed: ["nginx", "git"]}) == []


def test_what_is_missing_is_installed_at_once() -> None:
    update, command = commands(install, ["a", "b", "c"], facts={Installed: ["b"]})
    assert text(update) == f"{APT} -o APT::Update::Error-Mode=any update"
    assert text(command) == f"{APT} install --no-install-recommends a c"


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
    assert TimeDaemon().process(run(TimeDaemon().command())) == found
    assert TimeDaemon().default() == ""
