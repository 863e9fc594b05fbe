"""What the server is."""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from operations import machine as module
from operations.machine import Machine, MachineFact, machine
from tests.unit.hosts import BOOKWORM, TRIXIE, Answering


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cache", {})


def test_one_command_reads_the_whole_machine() -> None:
    assert MachineFact().process(["debian 12", "4", "7950", "yes", "2222", "22"]) == Machine(
        debian="12", cores=4, memory=7950, ipv6=True, ssh_ports=(22, 2222)
    )
    assert MachineFact().process(["debian 13", "1", "480", "no", "22"]).ipv6 is False


def test_each_debian_has_its_postgresql() -> None:
    assert (BOOKWORM.postgresql, TRIXIE.postgresql) == ("15", "17")


def test_a_machine_is_read_once() -> None:
    host: Any = Answering({MachineFact: BOOKWORM})
    assert machine(host) is BOOKWORM
    host.facts = {}
    assert machine(host) is BOOKWORM


@pytest.mark.parametrize("system", ["debian 11", "ubuntu 24.04", "debian "])
def test_another_system_is_refused(system: str) -> None:
    found = MachineFact().process([system, "1", "480", "no", "22"])
    host: Any = Answering({MachineFact: found})
    with pytest.raises(PyinfraError) as refused:
        machine(host)
    assert str(refused.value) == f"box runs {found.debian}; onebox needs Debian 12 or 13."
