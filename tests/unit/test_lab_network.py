"""lab/network.py and lab/firewall.py: addresses that are free, and the way out."""

import json
import shutil
from pathlib import Path

import pytest

from lab import firewall, machine, network
from lab.errors import LabError
from lab.place import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    tmp_path.joinpath("root").mkdir()
    return Lab(root=tmp_path / "root", cache=tmp_path / "cache")


@pytest.fixture(autouse=True)
def _resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "resolv_conf", lambda: "nameserver 192.0.2.53\n")


def routes(monkeypatch: pytest.MonkeyPatch, *destinations: str) -> None:
    table = json.dumps([{"dst": "default"}, *({"dst": dst} for dst in destinations)])
    monkeypatch.setattr(network, "run", lambda *_: table)


def test_the_default_lab_takes_the_first_free_subnet(monkeypatch: pytest.MonkeyPatch) -> None:
    routes(monkeypatch, "192.0.2.0/24", "fe80::/64")
    assert str(network._choose(Lab()).v4) == "10.213.0.0/24"
    routes(monkeypatch, "10.213.0.0/23", "10.213.2.7")
    assert str(network._choose(Lab()).v4) == "10.213.3.0/24"
    assert str(network._choose(Lab()).v6) == "fd6f:6e65:626f:7803::/64"


def test_a_route_of_the_whole_range_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    routes(monkeypatch, "10.0.0.0/8")
    assert str(network._choose(Lab()).v4) == "198.18.0.0/24"
    routes(monkeypatch, "10.0.0.0/8", "198.18.0.0/15")
    with pytest.raises(LabError, match="No free addresses for the lab"):
        network._choose(Lab())


def test_a_name_server_is_not_run_over(monkeypatch: pytest.MonkeyPatch) -> None:
    routes(monkeypatch)
    monkeypatch.setattr(machine, "resolv_conf", lambda: "nameserver 10.213.0.53\n")
    assert str(network._choose(Lab()).v4) == "10.213.1.0/24"


def test_the_choice_is_kept(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    routes(monkeypatch)
    first = network.subnet(lab)
    routes(monkeypatch, str(first.v4))
    assert network.subnet(lab) == first
    assert first.address(11) == str(first.v4.network_address + 11)


def test_an_address_keeps_its_hardware_address() -> None:
    assert network.hardware_address(254) == "02:00:6f:62:00:fe"


def test_the_table_lets_guests_out_and_nothing_else(
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


def test_a_forward_policy_of_drop_gets_an_exception(
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


def test_former_forwarding_is_read_off_the_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    links = [
        {"ifname": "docker0"},
        {"ifname": "onebox0", "ifalias": "onebox-lab ip_forward=0"},
        {"ifname": "br0", "ifalias": "mine"},
    ]
    monkeypatch.setattr(firewall, "run", lambda *_: json.dumps(links))
    assert firewall.labs() == {"onebox0": "0"}
