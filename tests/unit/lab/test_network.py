"""lab/network.py: free addresses."""

import json

import pytest

from lab import machine, network
from lab.errors import LabError
from lab.layout import Lab


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


def test_a_name_servers_subnet_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
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
