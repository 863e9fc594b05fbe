"""`fab drift` reports manual changes, and the next deploy fixes them.

A few kinds of drift; `make soak-hand` tests all.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from tests.drifts import DriftReport, break_and_repair, drift, fab
from tests.lab_server import Server

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzvB0lZ6bGvYv9aLqX0m1xq3l4y5Jr7YQ8h2Zk1Jm3T someone"
DATAGRAMS = (
    "import socket; each = socket.socket(type=socket.SOCK_DGRAM); each.bind(('', 514));"
    " each.recv(1)"
)
PAIRS = ("a secret's mode", "a renamed migration role", "a release's packages")


@pytest.fixture(scope="module")
def broken(copy: Callable[..., Server]) -> Server:
    return copy("13")


def test_a_deployed_server_has_no_drift(server: Server) -> None:
    assert drift(server) == DriftReport(0, [], [])
    result = fab(server, "drift")
    assert (result.returncode, result.stdout) == (
        0,
        f"{server.host.name} has no drift.\n",
    )


@pytest.mark.parametrize("what", PAIRS)
def test_drift_is_reported_and_fixed_by_the_next_deploy(broken: Server, what: str) -> None:
    break_and_repair(broken, what)


def test_settings_that_postgresql_can_not_start_with_are_undone(broken: Server) -> None:
    """The limit simulates a server with too little memory."""
    folder = "/usr/lib/systemd/system/postgresql@.service.d"  # a package's folder: no drift
    unit, conf = "postgresql@17-main", "/etc/postgresql/17/main/conf.d/onebox.conf"
    answers = "runuser -u postgres -- psql -XqAtd postgres -c 'show shared_buffers'"
    before = broken.run(f"cd /; {answers}")
    size = before.removesuffix("MB")
    mib = int(size) if size != before else int(before.removesuffix("GB")) * 1024
    limit = f"printf '[Service]\\nLimitAS={mib + 600}M\\n' > {folder}/limit.conf"
    broken.run(f"mkdir {folder}; {limit}; systemctl daemon-reload; systemctl restart {unit}")
    too_much = mib + 700
    broken.entry["postgresql"] = {"shared_buffers": too_much}
    result = broken.pyinfra("-y")
    assert result.returncode != 0
    assert "PostgreSQL did not start with its new settings, and has the previous" in result.stderr
    assert "could not map anonymous shared memory" in result.stderr
    assert broken.run(f"cd /; {answers}") == before

    # The machine crashes between the new settings and their first start.
    kept = "/var/lib/onebox/postgresql/17-main"
    spoil = f"sed -i 's/^shared_buffers.*/shared_buffers = {too_much}MB/' {conf}"
    broken.run(f"cp -a {conf} {kept}; {spoil}")
    broken.run(f"systemctl restart {unit}", check=False)
    broken.wait_for(f"cd /; {answers}", 60)
    assert broken.run(f"cd /; {answers}") == before

    broken.run(f"rm -r {folder}; rm {kept}.refused; systemctl daemon-reload")
    del broken.entry["postgresql"]
    broken.deploy()
    assert drift(broken) == DriftReport(0, [], [])


def test_unknown_access_is_reported_and_left_to_the_user(broken: Server) -> None:
    broken.run(f"echo '{KEY}' >> /root/.ssh/authorized_keys")
    broken.run("echo 'games ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/games")
    broken.run("systemd-run --quiet --unit=foreign python3 -m http.server 8080")
    broken.run(f"systemd-run --quiet --unit=datagrams python3 -c {shlex.quote(DATAGRAMS)}")
    broken.wait_for("ss -Htln | grep -q :8080 && ss -Huln | grep -q :514", 10)
    expected = [
        "SSH key of root: SHA256:* is not on record",
        "listener on UDP port 514: python3 is not on record",
        "listener on port 8080: python3 is not on record",
        "sudo rule in /etc/sudoers.d/games: games ALL=(ALL) NOPASSWD:ALL is not on record",
    ]
    assert broken.deploy()["success"] == []
    found = drift(broken)
    assert (found.code, found.deploy) == (2, [])
    assert [line.partition("SHA256:")[0] for line in found.person] == [
        line.partition("SHA256:")[0] for line in expected
    ]
    output = fab(broken, "drift").stdout
    assert "--data accept=true" in output
    assert max(map(len, output.splitlines())) <= 80
    result = broken.pyinfra("-y", "--data", "accept=true")
    assert result.returncode == 0, result.stderr
    assert drift(broken) == DriftReport(0, [], [])
    broken.run("systemctl stop foreign datagrams; rm /etc/sudoers.d/games")
    assert [line.rpartition(" is ")[2] for line in drift(broken).person] == ["gone"] * 3
    assert broken.pyinfra("-y", "--data", "accept=true").returncode == 0


def test_a_release_other_than_the_repositorys_is_drift(broken: Server) -> None:
    broken.app["env"] = {"COLOUR": "blue"}
    broken.deploy()
    broken.run("onebox-release rollback links")
    found = drift(broken)
    assert found.code == 2
    assert found.deploy[0].endswith("has an outdated configuration"), found
    broken.deploy()
    assert drift(broken).deploy == []


def test_an_unreachable_server_is_no_drift(broken: Server) -> None:
    broken.entry |= {"address": "127.0.0.1", "ssh_port": 1}
    result = fab(broken, "drift", "--json")
    broken.entry["address"] = broken.host.name
    del broken.entry["ssh_port"]
    assert (result.returncode, result.stdout) == (1, "")
