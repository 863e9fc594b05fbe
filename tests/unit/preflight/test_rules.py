"""What stands in the way of a deploy is told at once, each thing with its cure."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflight import facts
from preflight.facts import Outside
from preflight.rules import problems, refusal, warnings
from tests.unit.hosts import READY
from tests.unit.inventories import LOCK, a_vm, read

NGINX = {"port": 80, "program": "nginx", "pid": "7"}
APACHE = [{"port": port, "program": "apache2", "pid": "812"} for port in (80, 443)]
OURS = dict.fromkeys(READY["ours"], True)


def outside(**changes: Any) -> Outside:
    seen = {
        "address": "203.0.113.10",
        "domains": {"links.example.com": ["203.0.113.10"]},
        "port_80": True,
        "clock": time.time(),
    }
    return Outside(**{**seen, **changes})


def found(folder: Path, **changes: Any) -> list[tuple[str, str]]:
    """Return what stands in the way, and what was found of it."""
    settings = changes.pop("settings", {})
    seen = {**READY, "clock": time.time(), **changes}
    return [(p.path, p.found) for p in problems(read(folder, a_vm(**settings)), seen, outside())]


def warned(**changes: Any) -> list[str]:
    return list(warnings({**READY, **changes}, outside()))


def test_a_bare_server_can_take_a_deploy(folder: Path) -> None:
    assert found(folder) == []
    assert warned() == []


@pytest.mark.parametrize(
    ("changes", "what", "told"),
    [
        ({"system": "ubuntu 24.04"}, "system", "ubuntu 24.04"),
        ({"architecture": "i686"}, "processor", "i686"),
        ({"memory": 149}, "memory", "149 MiB"),
        ({"disk": 1499}, "disk", "1499 MiB"),
        ({"apt": "apt-get (process 9)"}, "apt", "apt-get (process 9)"),
        ({"listeners": APACHE}, "port 80 and port 443", "apache2 (process 812)"),
        ({"services": ["apache2"]}, "Apache", "apache2.service is enabled"),
        ({"taken": {"links": ["the user links"]}}, "app links", "the user links"),
        ({"sites": ["shop", "blog"]}, "nginx", "sites: shop, blog"),
        ({"clusters": ["15/main"]}, "postgresql", "the cluster 15/main"),
        ({"ufw": True}, "firewall", "ufw"),
        ({"services": ["firewalld"]}, "firewall", "firewalld"),
    ],
)
def test_what_stands_in_the_way_is_told(
    folder: Path, changes: dict[str, Any], what: str, told: str
) -> None:
    assert found(folder, **changes) == [(what, told)]


def test_more_shared_buffers_than_half_of_the_memory_are_refused(folder: Path) -> None:
    """PostgreSQL may not start with them, and never again."""
    assert found(folder, settings={"postgresql": {"shared_buffers": 1000}}) == []
    assert found(folder, settings={"postgresql": {"shared_buffers": 1001}}) == [
        ("postgresql.shared_buffers", "1001 MiB")
    ]


@pytest.mark.parametrize("seconds", [-61.5, 61.5])
def test_a_wrong_clock_is_told_with_both_times(folder: Path, seconds: float) -> None:
    [(what, told)] = found(folder, clock=time.time() + seconds)
    assert what == "clock"
    assert told.endswith(" UTC")
    assert found(folder, clock=time.time() + seconds * 0.9) == []


def test_a_lock_file_for_a_newer_python_is_told(folder: Path) -> None:
    (folder / "app/uv.lock").write_text(f'requires-python = ">=3.12"\n{LOCK}')
    assert found(folder) == [("app links", "one for Python >=3.12")]
    assert found(folder, python="3.13.5") == []


def test_requirements_say_nothing_of_their_python(folder: Path) -> None:
    (folder / "app/uv.lock").unlink()
    pins = "gunicorn==27.0.1\nuvicorn-worker==0.4.0\n"
    (folder / "app/requirements.txt").write_text(pins)
    assert found(folder) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"listeners": [NGINX]},
        {"sites": ["shop"], "settings": {"take_over": ["nginx"]}},
        {"clusters": ["15/main"], "settings": {"take_over": ["postgresql"]}},
        {"ufw": True, "settings": {"take_over": ["firewall"]}},
        {"sites": ["shop"], "clusters": ["15/main"], "ufw": True, "ours": OURS},
        {"clusters": ["15/other"]},
        {"services": ["docker"]},
    ],
)
def test_what_is_ours_or_may_be_taken_over_stands_in_no_way(
    folder: Path, changes: dict[str, Any]
) -> None:
    assert found(folder, **changes) == []


def test_who_may_not_become_root_is_told_that_alone(folder: Path) -> None:
    [problem] = problems(read(folder, a_vm(ssh_user="me")), {"lacks": "sudo"}, outside())
    assert (problem.path, problem.found) == ("ssh_user", '"me", who may not')
    [problem] = problems(read(folder, a_vm()), {"lacks": "python3"}, outside())
    assert problem.mend == "apt-get install python3"


def test_all_is_told_at_once_within_80_columns(folder: Path) -> None:
    seen = {**READY, "clock": 0, "services": ["firewalld"], "sites": ["a"], "disk": 1}
    text = refusal("box", problems(read(folder, a_vm()), seen, outside()))
    assert text.startswith("4 things stand in the way of a deploy to box; nothing was changed.\n\n")
    assert text.count("to mend:") == 4
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"domains": {"a.example.com": []}}, "a.example.com has no address in DNS"),
        ({"domains": {"a.example.com": ["198.51.100.1"]}}, "leads to 198.51.100.1, which is not"),
        ({"port_80": False}, "Port 80 does not answer from here"),
    ],
)
def test_what_is_seen_from_here_is_a_warning(changes: dict[str, Any], words: str) -> None:
    [warning] = warnings(READY, outside(**changes))
    assert words in warning


def test_a_full_disk_of_a_deployed_server_is_a_warning(folder: Path) -> None:
    """What makes room may need a deploy; the release itself is refused where it has none."""
    assert found(folder, disk=299, ours=OURS) == []
    [warning] = warned(disk=299, ours=OURS)
    assert warning.startswith("The disk has 299 MiB free: a new release will be refused below 300")


@pytest.mark.parametrize("public", ["198.51.100.1", "localhost"])
def test_behind_nat_the_public_address_counts(
    folder: Path, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`public_address` is where DNS should point to, and where port 80 is tried."""
    tried: list[str] = []
    ip = {"localhost": "127.0.0.1"}.get(public, public)
    monkeypatch.setattr(facts, "_answers", tried.append)
    monkeypatch.setattr(facts, "_resolve", lambda _: [ip])
    vm = read(folder, a_vm(address="10.0.0.5", public_address=public))
    host: Any = SimpleNamespace(connector=None, get_fact=lambda *_, **__: READY)
    seen, from_here = facts.look(host, vm, [])
    assert (from_here.address, tried) == (ip, [ip])
    assert not any(ip in warning for warning in warnings(seen, from_here))


def test_what_the_firewall_would_close_is_a_warning() -> None:
    node = {"port": 3000, "program": "node", "pid": "9"}
    assert warned(listeners=[*READY["listeners"], node]) == [
        "Port 3000 (node) will be closed to the outside by our firewall."
    ]
    assert warned(listeners=[node], ours=OURS) == []
    assert warned(timekeeper="container") == []
    assert warned(timekeeper="none") == [
        "Nothing keeps the server's clock: onebox installs systemd-timesyncd."
    ]
    assert warned(timekeeper="chrony (stopped)") == [
        "chrony is to keep the clock, and does not run: systemctl enable --now chrony"
    ]
    assert warned(services=["docker"], clusters=["15/other", "15/main"]) == [
        "Docker is left alone: ports that it publishes get past our firewall.",
        "The PostgreSQL cluster 15/other is left alone; it shares the memory.",
    ]
