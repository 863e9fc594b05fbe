"""The firewall: only SSH, HTTP and HTTPS are open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from settings import VM

from .connection import Host

LOOPBACK = ("127.", "[::1]", "[::ffff:127.")


@pytest.fixture(scope="session")
def table(host: Host) -> list[dict[str, Any]]:
    """Our table in the kernel."""
    loaded: list[dict[str, Any]] = json.loads(
        host.check_output("/usr/sbin/nft -j list table inet onebox")
    )["nftables"]
    return loaded


def test_firewall_is_active_and_starts_at_boot(host: Host) -> None:
    assert host.service("onebox-firewall.service").is_enabled
    assert host.service("onebox-firewall.service").is_running


def test_other_packets_are_dropped(table: list[dict[str, Any]]) -> None:
    (chain,) = [item["chain"] for item in table if "chain" in item]
    assert (chain["type"], chain["hook"], chain["policy"]) == ("filter", "input", "drop")


def test_only_ssh_http_https_and_replies_are_accepted(
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


def test_connections_per_client_are_limited(table: list[dict[str, Any]], vm: VM) -> None:
    """Per IPv4 address, then per IPv6 network of 48 bits, before any rule that accepts."""
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


def test_ssh_http_and_https_have_listeners(host: Host, ssh_ports: set[int]) -> None:
    """The firewall closes other listeners, such as that of systemd-resolved for LLMNR."""
    assert _reachable(host, "ss -Htln") >= {*ssh_ports, 80, 443}


def test_rules_in_the_kernel_are_those_that_were_loaded(host: Host) -> None:
    host.run_expect([0], "/usr/sbin/nft -t list table inet onebox | cmp - /run/onebox-firewall")


def _reachable(host: Host, command: str) -> set[int]:
    locals_ = [line.split()[3] for line in host.check_output(command).splitlines()]
    return {int(local.rpartition(":")[2]) for local in locals_ if not local.startswith(LOOPBACK)}


def _conditions(rule: list[dict[str, Any]]) -> list[tuple[str, set[Any]]]:
    """Return the field and the values of each match of a rule."""
    return [_condition(part["match"]) for part in rule if "match" in part]


def _condition(match: dict[str, Any]) -> tuple[str, set[Any]]:
    kind, left = next(iter(match["left"].items()))
    name = f"{left['protocol']} {left['field']}" if kind == "payload" else left["key"]
    right = match["right"]
    if isinstance(right, dict) and "prefix" in right:
        return name, {f"{right['prefix']['addr']}/{right['prefix']['len']}"}
    values = right["set"] if isinstance(right, dict) else right
    return name, set(values) if isinstance(values, list) else {values}
