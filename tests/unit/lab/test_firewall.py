"""lab/firewall.py: NAT for guests."""

import json
import shutil

import pytest

from lab import firewall
from lab.layout import Lab


def test_the_table_masquerades_guests_and_does_nothing_else(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.root / "network.json").write_text('{"v4": "10.213.7.0/24", "v6": "fd00::/64"}')
    monkeypatch.setattr(Lab, "prefix", "onebox")
    assert firewall.rules(lab).splitlines() == [
        "table inet onebox_lab {}",
        "delete table inet onebox_lab",
        "table inet onebox_lab {",
        "  chain forward {",
        "    type filter hook forward priority filter; policy accept;",
        '    iifname "onebox0" accept',
        '    oifname "onebox0" accept',
        "  }",
        "  chain postrouting {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        '    ip saddr 10.213.7.0/24 oifname != "onebox0" masquerade',
        "  }",
        "}",
    ]


def test_a_forward_policy_of_drop_gets_an_accept_rule(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/sbin/iptables")
    monkeypatch.setattr(firewall, "run", lambda *_: "-P FORWARD DROP\n-N DOCKER-USER\n")
    assert firewall._drops_by_policy()
    assert firewall._forward_rules(lab) == [
        ["FORWARD", "-i", lab.bridge, "-j", "ACCEPT"],
        ["FORWARD", "-o", lab.bridge, "-j", "ACCEPT"],
    ]
    monkeypatch.setattr(firewall, "run", lambda *_: "-P FORWARD ACCEPT\n")
    assert not firewall._drops_by_policy()


def test_previous_forwarding_is_read_from_the_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    links = [
        {"ifname": "docker0"},
        {"ifname": "onebox0", "ifalias": "onebox-lab ip_forward=0"},
        {"ifname": "br0", "ifalias": "mine"},
    ]
    monkeypatch.setattr(firewall, "run", lambda *_: json.dumps(links))
    assert firewall.labs() == {"onebox0": "0"}
