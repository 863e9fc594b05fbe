"""Locking everybody out is undone by the server itself; certificates follow their domains."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.server import Server

BLOCKED = """
from pyinfra import host
from operations import guarded
from operations.files import File

rules = '''table inet onebox
delete table inet onebox
table inet onebox {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established accept
    }
}
'''
guarded.SECONDS = 8
guarded.PATIENCE = 2
guarded.place(
    name="Close every port",
    file=File("/etc/onebox/firewall.nft", rules),
    apply="systemctl reload onebox-firewall.service",
    withdraw="systemctl stop onebox-firewall.service",
)
"""


def test_a_firewall_that_locks_out_is_taken_back(copy: Callable[..., Server]) -> None:
    server = copy("13")
    deploy = server.inventory.with_name("blocked.py")
    deploy.write_text(BLOCKED)
    result = server.pyinfra("-y", deploy=str(deploy))
    assert result.returncode != 0
    assert "It takes this change back by itself" in result.stderr
    assert "Traceback" not in result.stderr
    time.sleep(10)
    assert "tcp dport { 22, 80, 443 } accept" in server.run("nft list table inet onebox")
    assert server.deploy()["success"] == []


def test_another_domain_is_another_certificate(copy: Callable[..., Server]) -> None:
    server = copy("12")
    more = "www." + server.domain
    server.app["domains"].append(more)
    assert (
        "Certificates | Get a certificate for " + ", ".join(server.app["domains"])
        in server.deploy()["success"]
    )
    assert server.request("GET", "/health/live", domain=more).status_code == 200
    assert server.deploy()["success"] == []


def test_a_domain_that_leads_elsewhere_leaves_the_app_as_it_was(
    copy: Callable[..., Server],
) -> None:
    server = copy("12")
    server.app["domains"].append("nowhere." + server.domain)
    result = server.pyinfra("-y")
    assert result.returncode != 0
    assert "nowhere." + server.domain in result.stdout + result.stderr
    assert server.request("GET", "/health/live").status_code == 200
