"""Resource limits: an equal share at least, and never what the others need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from onebox_release.app import App

from tasks.apps import RESERVED, workers
from tasks.resources import for_apps, memories, tasks
from tests.unit.hosts import BOOKWORM
from tests.unit.inventories import a_vm, an_app, read


@pytest.mark.parametrize("memory", [480, 960, 2000, 7900])
def test_one_app_is_limited_to_what_the_server_does_not_need(folder: Path, memory: int) -> None:
    machine = replace(BOOKWORM, memory=memory)
    vm = read(folder, a_vm(an_app()))
    assert memories(vm, machine) == [for_apps(machine)]
    assert for_apps(machine) >= memory * 0.6 - 1
    assert memory < 1000 or for_apps(machine) == memory - RESERVED


def test_two_releases_with_the_default_workers_fit_in_the_limit(folder: Path) -> None:
    vm = read(folder, a_vm(an_app()))
    for memory in range(700, 20_000, 100):
        machine = replace(BOOKWORM, cores=64, memory=memory)
        web = vm.apps[0].web
        assert 2 * workers(web, machine) * web.worker_memory <= memories(vm, machine)[0]


def test_an_app_is_limited_to_what_the_others_do_not_need(folder: Path) -> None:
    names = ["links", "links-x", "other", "another"]
    vm = read(folder, a_vm(*(an_app(name=n, domains=[f"{n}.example.com"]) for n in names)))
    for memory in (960, 2000, 4000, 16_000):
        machine = replace(BOOKWORM, memory=memory)
        total, found = for_apps(machine), memories(vm, machine)
        assert all(total // len(names) <= limit < total for limit in found)
        need = min(workers(vm.apps[0].web, machine) * 150, total // len(names))
        assert all(limit == total - 3 * need for limit in found)


def test_a_limit_that_is_set_applies(folder: Path) -> None:
    vm = read(folder, a_vm(an_app(resources={"memory": 500, "tasks": 99})))
    assert memories(vm, BOOKWORM) == [500]
    assert tasks(vm.apps[0], BOOKWORM) == 128 * 1
    assert tasks(read(folder, a_vm(an_app())).apps[0], BOOKWORM) == 2048


def test_no_apps_slice_is_nested_in_anothers(folder: Path) -> None:
    """systemd nests onebox-a-b.slice in onebox-a.slice."""
    vm = read(folder, a_vm(an_app(), an_app(name="links-x", domains=["x.example.com"])))
    assert [app.slice for app in vm.apps] == ["onebox-links.slice", "onebox-links_x.slice"]
    assert [App(app.name).slice.name for app in vm.apps] == [app.slice for app in vm.apps]
