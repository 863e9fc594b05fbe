"""lab/registry.py: entries on disk, and abandoned hosts."""

import os
from dataclasses import replace

import pytest

from lab import process, registry
from lab.layout import Lab
from lab.process import Process
from lab.registry import HostEntry

GONE = Process(pid=os.getpid(), started=1)


@pytest.fixture
def web(web: HostEntry) -> HostEntry:
    return replace(web, creator=process.myself())


def test_an_entry_is_saved_and_loaded(lab: Lab, web: HostEntry) -> None:
    full = replace(web, memory=1 << 30, lower=("images/x",), owner=process.myself(), created=1.5)
    registry.save(lab, full)
    assert registry.load(lab, "web") == full
    assert (lab.hosts / "web/host.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (lab.hosts / "web").iterdir()] == ["host.json"]


def test_hosts_are_listed_by_address(lab: Lab, web: HostEntry) -> None:
    registry.save(lab, replace(web, name="a", number=12))
    registry.save(lab, web)
    (lab.hosts / "cut").mkdir()
    assert [found.name for found in registry.load_all(lab)] == ["web", "a"]
    assert registry.names(lab) == ["a", "cut", "web"]
    assert registry.load(lab, "cut") is None


def test_a_host_is_abandoned_when_its_creator_exited_before_it_was_ready(web: HostEntry) -> None:
    assert not web.abandoned
    assert replace(web, creator=GONE).abandoned
    assert replace(web, creator=None).abandoned
    assert not replace(web, creator=GONE, state="ready").abandoned


def test_a_host_is_abandoned_when_its_owner_has_exited(web: HostEntry) -> None:
    ready = replace(web, state="ready")
    assert not replace(ready, owner=process.myself()).abandoned
    assert replace(ready, owner=GONE).abandoned
