"""lab/allocation.py: a new host's name, number and addresses."""

import pytest

from lab import allocation, network, registry
from lab.allocation import HostRequest
from lab.errors import LabError
from lab.layout import Lab
from lab.registry import HostEntry


@pytest.fixture(autouse=True)
def _no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_in_use", list)


def test_a_name_is_generated_if_none_is_given(lab: Lab, web: HostEntry) -> None:
    registry.save(lab, web)
    assert allocation.allocate(lab, HostRequest()).name == "lab1"
    second = allocation.allocate(lab, HostRequest(domains=["www.test"]))
    assert (second.name, second.domains) == ("lab2", ("lab2.onebox.test", "www.test"))
    assert second.number == 13
    assert second.debian == 13


def test_an_owner_that_has_exited_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="--owner 4194305: no such process"):
        allocation.allocate(lab, HostRequest(owner=4194305))
    assert registry.names(lab) == []
