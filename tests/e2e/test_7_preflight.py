"""Preflight recognises a server that others set up, and changes nothing of theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.drifts import fab
from tests.e2e.test_1_deploy import NEW_FILES
from tests.lab_hosts import PREFIX
from tests.lab_server import LONG, Server, lab, local

REFUSED = 4
# Mask firewalld: its package would start it, and close this connection.
INSTALL = (
    "systemctl mask firewalld && apt-get -qq update && DEBIAN_FRONTEND=noninteractive"
    " apt-get -qq install -y --no-install-recommends apache2 ufw firewalld >/dev/null"
)
SITE = "mkdir -p /etc/nginx/conf.d && echo 'server { listen 8081; }' > /etc/nginx/conf.d/shop.conf"
FOREIGN = {
    "Apache at port 80": "systemctl enable --now apache2",
    "ufw": "ufw allow 22 && ufw --force enable",
    "a site of nginx": SITE,
    "a folder of the app's name": "mkdir /srv/links",
    "a listener": "systemd-run --quiet --unit=foreign python3 -m http.server 3000",
    "a user without sudo": "useradd --create-home plain && cp -r ~/.ssh ~plain/"
    " && chown -R plain: ~plain/.ssh",
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with other people's configuration."""
    name = f"{PREFIX}-foreign"
    lab("up", name, "--debian", "12", "--owner", str(os.getpid()))
    try:
        server = Server.of(name, tmp_path_factory.mktemp("foreign"), "root")
        ssh = ["ssh", "-F", str(server.host.ssh_config), name, INSTALL]
        installed = local(ssh, LONG)
        assert installed.returncode == 0, installed.stderr
        for command in FOREIGN.values():
            server.run(command)
        server.wait_for("ss -Htln | grep -q :3000", 10)
        yield server
    finally:
        lab("down", name)


def preflight(server: Server) -> tuple[int, dict[str, str], list[str]]:
    """Run `fab preflight`; return its exit code, the problems, and the warnings."""
    result = fab(server, "preflight", "--json")
    assert result.stdout, result.stderr
    data = json.loads(result.stdout)["data"]
    problems = {each["path"]: each["found"] for each in data["problems"]}
    return result.returncode, problems, data["warnings"]


@pytest.mark.parametrize("how", ["-y", "--dry"])
def test_a_server_that_others_set_up_is_refused(foreign: Server, how: str) -> None:
    before = foreign.run(NEW_FILES)
    result = foreign.pyinfra(how)
    output = result.stdout + result.stderr
    assert result.returncode == REFUSED, output
    assert "can't take a deploy: 4 problems." in output
    assert "Starting operation" not in output
    assert "Traceback" not in output
    assert foreign.run(NEW_FILES) == before


def test_all_problems_are_reported_at_once(foreign: Server) -> None:
    code, problems, _ = preflight(foreign)
    assert code == REFUSED
    assert problems.pop("port 80").startswith("apache2 (process ")
    assert problems == {
        "app links": "the folder /srv/links",
        "nginx": "sites: shop.conf",
        "firewall": "ufw",
    }
    human = fab(foreign, "preflight")
    assert human.returncode == REFUSED
    assert max(map(len, human.stdout.splitlines())) <= 80


def test_a_user_without_sudo_is_refused(foreign: Server) -> None:
    foreign.entry["ssh_user"] = "plain"
    try:
        assert preflight(foreign) == (
            REFUSED,
            {"ssh_user": '"plain" without passwordless sudo'},
            [],
        )
        assert foreign.pyinfra("-y").returncode == REFUSED
    finally:
        foreign.entry["ssh_user"] = "root"


def test_what_may_be_taken_over_is_no_problem(foreign: Server) -> None:
    foreign.entry["take_over"] = ["nginx", "firewall"]
    foreign.run("systemctl disable --now apache2 && rmdir /srv/links")
    code, problems, warnings = preflight(foreign)
    assert (code, problems) == (0, {})
    assert "The firewall will close port 3000 (python3)." in warnings
    assert foreign.pyinfra("--dry").returncode == 0
    assert foreign.run("cat /etc/nginx/conf.d/shop.conf") == "server { listen 8081; }"


def test_a_service_that_starts_at_the_next_boot_is_reported(foreign: Server) -> None:
    foreign.run("systemctl enable apache2 && ufw disable")
    foreign.run("systemctl unmask firewalld && systemctl enable firewalld")
    foreign.entry["take_over"] = ["nginx"]
    code, problems, _ = preflight(foreign)
    assert (code, problems) == (
        REFUSED,
        {"Apache": "apache2.service is enabled", "firewall": "firewalld"},
    )
