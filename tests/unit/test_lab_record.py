"""lab/record.py and lab/process.py: what is known of a host, and who still wants it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lab import process, record
from lab.place import Lab
from lab.process import Process
from lab.record import Record

GONE = Process(pid=os.getpid(), started=1)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(root=tmp_path / "root", cache=tmp_path / "cache")


@pytest.fixture
def web() -> Record:
    return Record(
        name="web",
        number=11,
        debian=12,
        address="10.213.0.11",
        address6="fd6f:6e65:626f:7800::b",
        domains=("web.onebox.test",),
        creator=process.myself(),
    )


def test_a_record_survives_the_disk(lab: Lab, web: Record) -> None:
    full = replace(web, memory=1 << 30, lower=("images/x",), owner=process.myself(), created=1.5)
    record.save(lab, full)
    assert record.load(lab, "web") == full
    assert (lab.hosts / "web/host.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (lab.hosts / "web").iterdir()] == ["host.json"]


def test_hosts_come_in_the_order_of_their_addresses(lab: Lab, web: Record) -> None:
    record.save(lab, replace(web, name="a", number=12))
    record.save(lab, web)
    (lab.hosts / "cut").mkdir()
    assert [found.name for found in record.load_all(lab)] == ["web", "a"]
    assert record.names(lab) == ["a", "cut", "web"]
    assert record.load(lab, "cut") is None


def test_a_host_is_abandoned_when_its_maker_died_half_way(web: Record) -> None:
    assert not web.abandoned
    assert replace(web, creator=GONE).abandoned
    assert replace(web, creator=None).abandoned
    assert not replace(web, creator=GONE, state="ready").abandoned


def test_a_host_is_abandoned_when_its_owner_is_gone(web: Record) -> None:
    ready = replace(web, state="ready")
    assert not replace(ready, owner=process.myself()).abandoned
    assert replace(ready, owner=GONE).abandoned


def test_a_process_number_used_again_is_another_process() -> None:
    assert process.myself().alive
    assert not GONE.alive
    assert process.find(2**22 + 1) is None
