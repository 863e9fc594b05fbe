"""Debian packages: only what is missing is installed, in one transaction."""

from operations.apt import APT, Installed, installed
from tests.unit.hosts import commands, text


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
