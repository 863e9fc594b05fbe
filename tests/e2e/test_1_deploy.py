"""From a bare host to the app over HTTPS; a second deploy changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.lab_hosts import Hosts
from tests.lab_server import PROJECT, Server

NEW_FILES = "find /etc /srv /var/lib -newer /proc/1 -type f | sort"


def changes(server: Server) -> list[str]:
    """Return the names of the operations that a dry run lists as changes."""
    result = server.pyinfra("--dry", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    plan = json.loads(result.stdout)["plan"]
    return [operation["name"] for operation in plan if operation["hosts_with_change"]]


@pytest.mark.parametrize("debian", ["12", "13"])
def test_a_dry_run_on_a_bare_host_lists_all_changes_and_makes_none(
    hosts: Hosts, debian: str
) -> None:
    server = hosts.bare(debian)
    assert debian not in hosts.deployed
    before = server.run(NEW_FILES)
    planned = changes(server)
    assert "Releases | Release links" in planned
    assert "Certificates | Obtain a certificate for " + server.domain in planned
    assert server.run(NEW_FILES) == before


def test_the_first_deploy_serves_the_app_over_https(server: Server) -> None:
    created = server.create_link("https://example.com/a")
    assert created.status_code == 201, created.text
    followed = server.request("GET", f"/{created.json()['code']}")
    assert followed.headers["location"] == "https://example.com/a"


def test_a_deploy_ends_by_printing_the_address(server: Server) -> None:
    result = server.pyinfra("-y")
    assert result.returncode == 0, result.stderr
    assert f"https://{server.domain}/" in result.stderr + result.stdout


def test_a_second_deploy_changes_nothing(server: Server) -> None:
    outcomes = server.deploy()
    assert outcomes["success"] == []
    assert outcomes["error"] == []
    assert len(outcomes["no_change"]) >= 20


def test_a_dry_run_on_a_deployed_host_would_change_nothing(server: Server) -> None:
    assert changes(server) == []


def test_the_host_is_verified(server: Server) -> None:
    server.pyinfra("--dry")  # writes the inventory
    environment = os.environ | {
        "ONEBOX_INVENTORY": str(server.inventory),
        "SSL_CERT_FILE": str(server.host.acme_root),
    }
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/host"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]


def test_only_root_reads_secrets(server: Server) -> None:
    assert server.run("runuser -u links -- cat /etc/links/secrets.env", check=False) == ""
    assert server.run("stat -c %a:%U /etc/links/generated.env") == "600:root"


def test_a_renewed_certificate_is_served(server: Server) -> None:
    before = server.run("openssl x509 -in /etc/letsencrypt/live/links/cert.pem -noout -serial")
    unit = "systemctl show --value -p Environment onebox-certbot.service"
    renew = "/usr/local/lib/onebox/certbot/bin/certbot renew -q --force-renewal"
    server.run(f"env $({unit}) {renew} --no-random-sleep-on-renew")
    time.sleep(1)
    served = server.run(
        "openssl s_client -connect 127.0.0.1:443 -servername"
        f" {server.domain} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    )
    assert served != before
    assert (
        server.run(
            "systemctl start onebox-certbot.service; systemctl is-failed onebox-certbot",
            check=False,
        )
        == "inactive"
    )
