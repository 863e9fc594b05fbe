"""Access: administrators are never locked out, an app can't log in; certificates follow the
domains."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from tests.lab_server import Server

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
guarded.REVERT_AFTER = 8
guarded.CONNECT_TIMEOUT = 2
guarded.install(
    name="Close every port",
    file=File("/etc/onebox/firewall.nft", rules),
    apply="systemctl reload onebox-firewall.service",
    revert="systemctl stop onebox-firewall.service",
)
"""


# What an app could write to its home folder in an older onebox.
WAY_IN = """
set -e
sed -Ei 's|^(links:.*):/nonexistent:|\\1:/var/lib/links:|' /etc/passwd
cd /var/lib/links
mkdir -p .ssh
cp /root/.ssh/authorized_keys .ssh/
chown -R links: .ssh
chmod 700 .ssh
"""
# Connections that never log in, from one address; then connections from another address.
IDLE = """
import socket
def connect(source):
    return socket.create_connection(("127.0.0.1", 22), 5, (source, 0))
idle = [connect("127.0.0.2") for _ in range(300)]
answered = [connect("127.0.0.3").recv(4) for _ in range(9)]
print(sum(answer == b"SSH-" for answer in answered))
"""


# A separate network whose DHCP server assigns IPv4 and IPv6; the client is systemd-networkd.
DHCP = """
set -e
apt-get -qq install -y --no-install-recommends dnsmasq-base > /dev/null 2>&1
ip netns add dhcp
ip link add leased type veth peer name server netns dhcp
ip -n dhcp address add 2001:db8:7::1/64 dev server nodad
ip -n dhcp address add 192.0.2.1/24 dev server
ip -n dhcp link set server up
mkdir -p /run/systemd/network
printf '[Match]\\nName=leased\\n[Network]\\nDHCP=yes\\nIPv6AcceptRA=no\\n' > {unit}
printf '[DHCPv6]\\nWithoutRA=solicit\\n' >> {unit}
systemd-run -q --unit=dhcp-server ip netns exec dhcp dnsmasq --keep-in-foreground --port=0 \\
    --interface=server --bind-interfaces --dhcp-leasefile=/run/leases \\
    --dhcp-range=2001:db8:7::100,2001:db8:7::200,64,2m --dhcp-range=192.0.2.50,192.0.2.60,2m
systemctl start systemd-networkd
"""
NO_DHCP = """
systemctl stop dhcp-server systemd-networkd systemd-networkd.socket
rm {unit}
ip link del leased
ip netns del dhcp
apt-get -qq purge -y dnsmasq-base > /dev/null 2>&1
"""
UNIT = "/run/systemd/network/10-leased.network"


@pytest.fixture(scope="module")
def server(copy: Callable[..., Server]) -> Server:
    """A server for this file's tests only."""
    return copy("13")


def test_an_app_cannot_log_in_with_a_key_of_its_own(server: Server) -> None:
    server.run("sh", given=WAY_IN)
    command = ["ssh", "-F", str(server.host.ssh_config), "-l", "links", "-N", server.host.name]
    options = ["-o", "BatchMode=yes", "-o", "ControlPath=none"]
    refused = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, timeout=10
    )
    assert "Permission denied" in refused.stderr
    server.run("cd /var/lib/links/.ssh && rm authorized_keys && mkfifo authorized_keys")
    server.run("systemctl unmask user@$(id -u links).service; gpasswd -d links onebox-nologin")
    assert "Apps | Create the users of links" in server.deploy()["success"]
    uid = server.run("id -u links")
    assert ":/nonexistent:" in server.run("getent passwd links")
    assert "onebox-nologin" in server.run("id -nG links")
    assert "masked" in server.run(f"systemctl start user@{uid}.service 2>&1", check=False)
    assert server.deploy()["success"] == []
    server.run("rm -r /var/lib/links/.ssh")


def test_psql_runs_nothing_that_the_app_wrote(server: Server) -> None:
    server.run("sed -Ei 's|^(links:.*):/nonexistent:|\\1:/var/lib/links:|' /etc/passwd")
    server.run("echo '\\! touch /var/lib/links/ran' > /var/lib/links/.psqlrc")
    assert "7" in server.run("onebox-release psql links", given="select 3 + 4;")
    assert server.run("ls /var/lib/links/ran || true", check=False) == ""
    server.run("rm /var/lib/links/.psqlrc")
    server.run("sed -Ei 's|^(links:.*):/var/lib/links:|\\1:/nonexistent:|' /etc/passwd")


def test_idle_connections_from_one_address_lock_nobody_out(server: Server) -> None:
    assert server.run("python3 -", given=IDLE) == "9"


def test_an_sshd_that_reads_no_drop_in_stops_the_run(server: Server) -> None:
    server.run("cd /etc/ssh && cp sshd_config /root/ && sed -i '/^Include/d' sshd_config")
    result = server.pyinfra("-y")
    server.run("cp /root/sshd_config /etc/ssh/ && systemctl reload ssh; sleep 1")
    assert result.returncode != 0
    assert "DenyGroups is not set, not onebox-nologin" in result.stderr
    assert "first line of /etc/ssh/sshd_config" in result.stderr
    assert "Traceback" not in result.stderr


def test_dhcp_passes_the_firewall(server: Server) -> None:
    try:
        server.run("sh", given=DHCP.replace("{unit}", UNIT))
        for address in ("192.0.2.", "2001:db8:7::"):
            server.wait_for(f"ip address show leased | grep -q {address}", 10)
    finally:
        server.run("sh", check=False, given=NO_DHCP.replace("{unit}", UNIT))


def test_the_rules_survive_restarts_of_nftables(server: Server) -> None:
    server.run("systemctl start nftables")
    for what in ("restart", "reload", "stop"):
        server.run(f"systemctl {what} nftables")
        assert "policy drop" in server.run("nft list table inet onebox"), what
        server.run("nft -t list table inet onebox | cmp - /run/onebox-firewall")
        server.wait_for("nft get element inet onebox_link_local apps '{ links }'", 5)


def test_a_firewall_that_is_missing_or_blocks_sshd_is_reported(server: Server) -> None:
    ports = "/etc/ssh/sshd_config.d/50-port.conf"
    server.run(f"nft flush ruleset; printf 'Port 22\\nPort 2222\\n' > {ports}")
    server.run("systemctl reload ssh; sleep 1")
    server.run("systemctl start onebox-checks")
    # Reported once the timer's next round finds it too.
    found = server.run("cat /var/lib/onebox-checks/state.json")
    assert '"firewall:table"' in found
    assert '"firewall:link-local"' in found
    server.run("systemctl reload onebox-firewall onebox-link-local")
    server.run("systemctl start onebox-checks")
    assert "sshd listens on port 2222, which the firewall closes" in server.run(
        "onebox-checks status"
    )
    server.run(f"rm {ports}; systemctl reload ssh; sleep 1")


def test_a_firewall_that_locks_everybody_out_is_reverted(server: Server) -> None:
    deploy = server.inventory.with_name("blocked.py")
    deploy.write_text(BLOCKED)
    result = server.pyinfra("-y", deploy=str(deploy))
    assert result.returncode != 0
    assert "It reverts this change within" in result.stderr
    assert "Traceback" not in result.stderr
    time.sleep(10)
    assert "tcp dport { 22, 80, 443 } accept" in server.run("nft list table inet onebox")
    assert server.deploy()["success"] == []


def test_an_added_domain_gets_a_new_certificate(copy: Callable[..., Server]) -> None:
    server = copy("12")
    more = "www." + server.domain
    server.app["domains"].append(more)
    assert (
        "Certificates | Obtain a certificate for " + ", ".join(server.app["domains"])
        in server.deploy()["success"]
    )
    assert server.request("GET", "/health/live", domain=more).status_code == 200
    assert server.deploy()["success"] == []


def test_a_domain_that_points_elsewhere_leaves_the_app_serving(
    copy: Callable[..., Server],
) -> None:
    server = copy("12")
    server.app["domains"].append("nowhere." + server.domain)
    result = server.pyinfra("-y")
    assert result.returncode != 0
    assert "nowhere." + server.domain in result.stdout + result.stderr
    assert server.request("GET", "/health/live").status_code == 200
