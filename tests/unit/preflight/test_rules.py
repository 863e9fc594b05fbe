"""All problems that prevent a deploy are reported at once, each with its fix."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sent.server import Listener

from preflight import facts
from preflight.facts import ExternalObservation, Unobservable
from preflight.rules import problems, refusal, warnings
from tests.unit.hosts import BARE
from tests.unit.inventories import LOCK, a_vm, read

NGINX = Listener(80, "nginx", "7")
APACHE = [Listener(port, "apache2", "812") for port in (80, 443)]
MANAGED = dict.fromkeys(BARE.managed, True)


def external(**changes: Any) -> ExternalObservation:
    fields = {
        "address": "203.0.113.10",
        "domains": {"links.example.com": ["203.0.113.10"]},
        "port_80": True,
        "clock": time.time(),
    }
    return ExternalObservation(**{**fields, **changes})


def found(folder: Path, **changes: Any) -> list[tuple[str, str]]:
    """Return the path of each problem, and what was found."""
    vm = read(folder, a_vm(**changes.pop("settings", {})))
    server = replace(BARE, **{"clock": time.time(), **changes})
    return [(p.path, p.found) for p in problems(vm, server, external())]


def warned(**changes: Any) -> list[str]:
    return list(warnings(replace(BARE, **changes), external()))


def test_a_bare_server_can_take_a_deploy(folder: Path) -> None:
    assert found(folder) == []
    assert warned() == []


@pytest.mark.parametrize(
    ("changes", "path", "expected"),
    [
        ({"system": "ubuntu 24.04"}, "system", "ubuntu 24.04"),
        ({"architecture": "i686"}, "processor", "i686"),
        ({"memory_available": 149}, "memory", "149 MiB"),
        ({"disk_free": 1499}, "disk", "1499 MiB"),
        ({"apt_lock_holder": "apt-get (process 9)"}, "apt", "apt-get (process 9)"),
        ({"listeners": APACHE}, "port 80 and port 443", "apache2 (process 812)"),
        ({"services": ["apache2"]}, "Apache", "apache2.service is enabled"),
        ({"name_conflicts": {"links": ["the user links"]}}, "app links", "the user links"),
        ({"nginx_sites": ["shop", "blog"]}, "nginx", "sites: shop, blog"),
        ({"clusters": ["15/main"]}, "postgresql", "the cluster 15/main"),
        ({"ufw": True}, "firewall", "ufw"),
        ({"services": ["firewalld"]}, "firewall", "firewalld"),
    ],
)
def test_a_problem_is_reported(
    folder: Path, changes: dict[str, Any], path: str, expected: str
) -> None:
    assert found(folder, **changes) == [(path, expected)]


def test_more_shared_buffers_than_half_of_the_memory_are_refused(folder: Path) -> None:
    """PostgreSQL may not start with them, and never again."""
    assert found(folder, settings={"postgresql": {"shared_buffers": 1000}}) == []
    assert found(folder, settings={"postgresql": {"shared_buffers": 1001}}) == [
        ("postgresql.shared_buffers", "1001 MiB")
    ]


@pytest.mark.parametrize("seconds", [-61.5, 61.5])
def test_a_wrong_clock_is_reported_with_both_times(folder: Path, seconds: float) -> None:
    [(path, there)] = found(folder, clock=time.time() + seconds)
    assert path == "clock"
    assert there.endswith(" UTC")
    assert found(folder, clock=time.time() + seconds * 0.9) == []


def test_a_lock_file_for_a_newer_python_is_reported(folder: Path) -> None:
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
        {"nginx_sites": ["shop"], "settings": {"take_over": ["nginx"]}},
        {"clusters": ["15/main"], "settings": {"take_over": ["postgresql"]}},
        {"ufw": True, "settings": {"take_over": ["firewall"]}},
        {"nginx_sites": ["shop"], "clusters": ["15/main"], "ufw": True, "managed": MANAGED},
        {"clusters": ["15/other"]},
        {"services": ["docker"]},
    ],
)
def test_what_onebox_manages_or_may_take_over_is_no_problem(
    folder: Path, changes: dict[str, Any]
) -> None:
    assert found(folder, **changes) == []


def test_a_server_that_can_not_be_observed_has_one_problem(folder: Path) -> None:
    server = Unobservable("sudo")
    [problem] = problems(read(folder, a_vm(ssh_user="me")), server, external())
    assert (problem.path, problem.found) == ("ssh_user", '"me" without passwordless sudo')
    assert list(warnings(server, external(port_80=False))) == []
    [problem] = problems(read(folder, a_vm()), Unobservable("python3"), external())
    assert problem.fix == "apt-get install python3"


def test_all_problems_are_reported_at_once_within_80_columns(folder: Path) -> None:
    server = replace(BARE, clock=0, services=["firewalld"], nginx_sites=["a"], disk_free=1)
    text = refusal("box", problems(read(folder, a_vm()), server, external()))
    assert text.startswith("box can't take a deploy: 4 problems. Nothing was changed.\n\n")
    assert text.count("fix:") == 4
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"domains": {"a.example.com": []}}, "a.example.com has no address in DNS"),
        ({"domains": {"a.example.com": ["198.51.100.1"]}}, "points to 198.51.100.1, which is not"),
        ({"port_80": False}, "Port 80 does not answer from here"),
    ],
)
def test_a_problem_seen_from_this_machine_is_a_warning(changes: dict[str, Any], words: str) -> None:
    [warning] = warnings(BARE, external(**changes))
    assert words in warning


def test_a_full_disk_of_a_deployed_server_is_a_warning(folder: Path) -> None:
    """Freeing space may need a deploy; only a new release is refused."""
    assert found(folder, disk_free=299, managed=MANAGED) == []
    [warning] = warned(disk_free=299, managed=MANAGED)
    assert warning.startswith(
        "The disk has 299 MiB free. Below 300 MiB, new releases may be refused"
    )


@pytest.mark.parametrize("public", ["198.51.100.1", "localhost"])
def test_behind_nat_the_public_address_counts(
    folder: Path, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS should point to `public_address`, and its port 80 is checked."""
    tried: list[str] = []
    ip = {"localhost": "127.0.0.1"}.get(public, public)
    monkeypatch.setattr(facts, "_answers", tried.append)
    monkeypatch.setattr(facts, "_resolve", lambda _: [ip])
    vm = read(folder, a_vm(address="10.0.0.5", public_address=public))
    host: Any = SimpleNamespace(connector=None, get_fact=lambda *_, **__: BARE)
    server, from_here = facts.observe(host, vm, [])
    assert (from_here.address, tried) == (ip, [ip])
    assert not any(ip in warning for warning in warnings(server, from_here))


def test_what_the_firewall_would_close_is_a_warning() -> None:
    node, own = Listener(3000, "node", "9"), [Listener(port, "x", "8") for port in (22, 80, 443)]
    assert warned(listeners=[*BARE.listeners, *own, node]) == [
        "The firewall will close port 3000 (node)."
    ]
    assert warned(listeners=[node], managed=MANAGED) == []
    assert warned(time_service="container") == []
    assert warned(time_service="none") == [
        "No service synchronises the clock: onebox installs systemd-timesyncd."
    ]
    assert warned(time_service="chrony (stopped)") == [
        "chrony should synchronise the clock but is stopped: systemctl enable --now chrony"
    ]
    assert warned(services=["docker"], clusters=["15/other", "15/main"]) == [
        "Docker is left as it is: the ports that it publishes bypass the firewall.",
        "PostgreSQL cluster 15/other is left as it is; it shares the memory.",
    ]
