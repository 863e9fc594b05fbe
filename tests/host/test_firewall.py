"""What gets in: SSH, HTTP and HTTPS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from settings import VM

from .server import Host

LOOPBACK = ("127.", "[::1]", "[::ffff:127.")


@pytest.fixture(scope="session")
def table(host: Host) -> list[dict[str, Any]]:
    """What our table holds in the kernel."""
    loaded: list[dict[str, Any]] = json.loads(
        host.check_output("/usr/sbin/nft -j list table inet onebox")
    )["nftables"]
    return loaded


def test_unit_is_loaded_and_starts_at_boot(host: Host) -> None:
    assert host.service("onebox-firewall.service").is_enabled
    assert host.service("onebox-firewall.service").is_running


def test_whatever_is_not_let_in_is_dropped(table: list[dict[str, Any]]) -> None:
    (chain,) = [item["chain"] for item in table if "chain" in item]
    assert (chain["type"], chain["hook"], chain["policy"]) == ("filter", "input", "drop")


def test_only_ssh_http_https_and_answers_are_let_in(
    table: list[dict[str, Any]], ssh_ports: set[int]
) -> None:
    rules = [item["rule"]["expr"] for item in table if "rule" in item]
    accepted = [rule for rule in rules if {"accept": None} in rule]
    assert [_conditions(rule) for rule in accepted] == [
        [("state", {"established", "related"})],
        [("iif", {"lo"})],
        [("l4proto", {"icmp", "ipv6-icmp"})],
        [("ip6 saddr", {"fe80::/10"}), ("udp sport", {547}), ("udp dport", {546})],
        [("udp sport", {67}), ("udp dport", {68})],
        [("tcp dport", {*ssh_ports, 80, 443})],
    ]


def test_the_connections_of_a_client_are_bounded(table: list[dict[str, Any]], vm: VM) -> None:
    """An IPv4 address, or an IPv6 network of 48 bits, in this order and before any is accepted."""
    limits = [app.limits for app in vm.apps]
    most = 0 if None in limits else max(limit.connections for limit in limits if limit) + 200
    rules = [item["rule"]["expr"] for item in table if "rule" in item]
    counts = [
        part["set"]["stmt"]
        for rule in rules
        if {"drop": None} in rule
        for part in rule
        if "set" in part
    ]
    assert counts == [[{"ct count": {"val": most, "inv": True}}]] * (2 if most else 0)


def test_ssh_http_and_https_are_listened_to(host: Host, ssh_ports: set[int]) -> None:
    """Other listeners, systemd-resolved's for LLMNR say, are closed by the rules above."""
    assert _reachable(host, "ss -Htln") >= {*ssh_ports, 80, 443}


def test_the_rules_are_loaded_as_they_were_written(host: Host) -> None:
    host.run_expect([0], "/usr/sbin/nft -t list table inet onebox | cmp - /run/onebox-firewall")


def _reachable(host: Host, command: str) -> set[int]:
    locals_ = [line.split()[3] for line in host.check_output(command).splitlines()]
    return {int(local.rpartition(":")[2]) for local in locals_ if not local.startswith(LOOPBACK)}


def _conditions(rule: list[dict[str, Any]]) -> list[tuple[str, set[Any]]]:
    """Return what each match of a rule looks at, and the values that match."""
    return [_condition(part["match"]) for part in rule if "match" in part]


def _condition(match: dict[str, Any]) -> tuple[str, set[Any]]:
    kind, left = next(iter(match["left"].items()))
    name = f"{left['protocol']} {left['field']}" if kind == "payload" else left["key"]
    right = match["right"]
    if isinstance(right, dict) and "prefix" in right:
        return name, {f"{right['prefix']['addr']}/{right['prefix']['len']}"}
    values = right["set"] if isinstance(right, dict) else right
    return name, set(values) if isinstance(values, list) else {values}
