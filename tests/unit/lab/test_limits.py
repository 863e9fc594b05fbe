"""lab/limits.py: CPUs and memory of a host."""

import os
from dataclasses import replace

import pytest

from lab import limits
from lab.registry import HostEntry


def test_cpus_are_spread_over_the_machine(monkeypatch: pytest.MonkeyPatch, web: HostEntry) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5})
    assert limits.cpu_list(web) is None
    assert limits.cpu_list(replace(web, cpus=1)) == "5"
    assert limits.cpu_list(replace(web, cpus=1, number=12)) == "0"
    assert limits.cpu_list(replace(web, cpus=2)) == "4,5"
    assert limits.cpu_list(replace(web, cpus=9)) == "0,1,4,5"


def test_the_guest_is_shown_its_limits() -> None:
    assert (limits.online(1), limits.online(2)) == ("0\n", "0-1\n")
    assert limits.meminfo(1 << 30).splitlines()[0].split() == ["MemTotal:", "1048576", "kB"]
