"""Folders, configuration and units of apps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from operations.files import File, Folder
from operations.machine import Machine
from settings import VM
from settings.app import App, Process, Web
from tasks import apps
from tasks.apps import environment, workers
from tests.unit.hosts import BOOKWORM
from tests.unit.inventories import a_vm, an_app, read


@pytest.fixture
def vm(folder: Path) -> VM:
    return read(folder, a_vm(an_app(migrate="alembic upgrade head", env={"A": "1"})))


@pytest.fixture
def app(vm: VM) -> App:
    return vm.apps[0]


def without_migrations(app: App) -> App:
    return app.model_copy(update={"migrate": None})


@pytest.mark.parametrize(
    ("cores", "memory", "count"),
    [
        (1, 480, 1),  # at least one, however small
        (1, 960, 2),
        (1, 2000, 2),
        (2, 1970, 3),
        (2, 3900, 3),
        (4, 7900, 5),
        (8, 2000, 5),
        (64, 200_000, 64),
        (2, 100, 1),
    ],
)
def test_workers_are_what_cores_and_memory_allow(cores: int, memory: int, count: int) -> None:
    machine = replace(BOOKWORM, cores=cores, memory=memory)
    assert workers(Web(), machine) == count


def test_two_releases_fit_in_the_memory() -> None:
    for memory in range(700, 20_000, 100):
        machine = replace(BOOKWORM, cores=64, memory=memory)
        assert 2 * workers(Web(), machine) * Web().worker_memory <= memory - apps.RESERVED


def test_bigger_workers_are_fewer() -> None:
    machine = replace(BOOKWORM, cores=4, memory=4350)
    assert workers(Web(worker_memory=1000), machine) == 2


def test_workers_that_are_set_are_not_second_guessed() -> None:
    machine = Machine(debian="12", cores=1, memory=480, ipv6=False, ssh_ports=(22,))
    assert workers(Web(workers=12), machine) == 12


def test_only_root_can_read_secrets(vm: VM, app: App) -> None:
    files = {file.path: file for file in apps._configuration(vm, app, BOOKWORM)}
    for name in ("app.env", "migrate.env", "secrets.env"):
        file = files[f"/etc/links/{name}"]
        assert (file.mode, file.owner) == ("600", "root:root")
    folders = {folder.path: folder for folder in apps._folders(app)}
    for path in ("/etc/links", "/etc/links/releases", "/var/lib/onebox/links"):
        assert folders[path].state == Folder(path, mode="700", owner="root:root").state


def test_an_app_owns_only_its_state_and_temporary_files(vm: VM, app: App) -> None:
    entries: list[File | Folder] = [
        *apps._folders(app), *apps._configuration(vm, app, BOOKWORM), *apps._units(app)
    ]  # fmt: skip
    owned = [thing.path for thing in entries if thing.owner != "root:root"]
    assert owned == ["/var/lib/links", "/var/lib/onebox/links/temporary"]


def test_every_folder_comes_after_its_parent(app: App) -> None:
    paths = [folder.path for folder in apps._folders(app)]
    for i, path in enumerate(paths):
        assert not [later for later in paths[i:] if path.startswith(f"{later}/")]


def test_a_migration_has_a_unit_only_where_there_is_one(app: App) -> None:
    units = "/etc/systemd/system/links"
    served = [".service", "@.target", "-web@.socket", "-web@.service"]
    early = "/etc/systemd/system/onebox-listen-links.service"
    assert [file.path for file in apps._units(app)] == [
        early, *(f"{units}{kind}" for kind in [*served, "-migrate@.service"]),
    ]  # fmt: skip
    assert [file.path for file in apps._units(without_migrations(app))] == [
        early, *(f"{units}{kind}" for kind in served),
    ]  # fmt: skip


def test_the_environment_depends_on_the_server(vm: VM, app: App) -> None:
    assert environment(vm, app, BOOKWORM) == {
        "DATABASE_URL": "postgresql://links@/links?host=/run/postgresql",
        "DATABASE_CONNECTIONS": "92",
        "WEB_CONCURRENCY": str(workers(app.web, BOOKWORM)),
        "A": "1",
        "ONEBOX_HEALTH": "/health/ready",
    }


def test_two_databases_share_the_connections(vm: VM, app: App) -> None:
    other = app.model_copy(update={"name": "other"})
    both = vm.model_copy(update={"apps": [app, other]})
    assert environment(both, app, BOOKWORM)["DATABASE_CONNECTIONS"] == "43"


def test_a_release_keeps_the_address_of_its_external_database(folder: Path) -> None:
    """It is read last of all: a failed deploy must not move the live release to another one."""
    (folder / "secrets.env").write_text("LINKS_DATABASE_URL=postgresql://elsewhere\n")
    vm = read(folder, a_vm(an_app(secrets=["DATABASE_URL"], database="external")))
    files = {f.path: f for f in apps._configuration(vm, vm.apps[0], BOOKWORM)}
    kept = files["/etc/links/app.env"]
    assert 'DATABASE_URL="postgresql://elsewhere"\n' in kept.content
    assert (kept.mode, kept.owner) == ("600", "root:root")


def test_an_app_without_a_database_has_no_address_of_one(vm: VM, app: App) -> None:
    other = app.model_copy(update={"database": "none"})
    result = environment(vm, other, BOOKWORM)
    assert result.keys() == {"WEB_CONCURRENCY", "A", "ONEBOX_HEALTH"}


def test_a_database_has_the_apps_own_variables(vm: VM, app: App) -> None:
    url = "postgresql+psycopg://{role}@/{name}"
    other = app.model_copy(update={"database_env": {"PG_USER": "{role}", "PG_URL": url}})
    result = environment(vm, other, BOOKWORM)
    assert (result["PG_USER"], result["PG_URL"]) == ("links", "postgresql+psycopg://links@/links")
    assert "DATABASE_URL" not in result
    files = {file.path: file for file in apps._configuration(vm, other, BOOKWORM)}
    migrating = files["/etc/links/migrate.env"].content
    assert 'PG_URL="postgresql+psycopg://links-migrate@/links"' in migrating


def test_keys_of_git_servers_are_installed_and_removed(vm: VM, app: App, tmp_path: Path) -> None:
    path, file = "/etc/links/known_hosts", tmp_path / "known"
    file.write_text("git.example.com ssh-ed25519 AAAA\n")
    with_keys = app.model_copy(update={"git_known_hosts": file})
    installed = {f.path: f.content for f in apps._configuration(vm, with_keys, BOOKWORM)}
    assert installed[path] == file.read_text()
    assert (path in apps._absent(with_keys), path in apps._absent(app)) == (False, True)


def test_a_secret_overrides_the_environment(folder: Path) -> None:
    (folder / "secrets.env").write_text("LINKS_DATABASE_URL=postgresql://elsewhere\nLINKS_A=s\n")
    vm = read(folder, a_vm(an_app(secrets=["DATABASE_URL", "A"], env={"A": "1", "B": "2"})))
    result = environment(vm, vm.apps[0], BOOKWORM)
    assert result.keys() == {"WEB_CONCURRENCY", "DATABASE_CONNECTIONS", "B", "ONEBOX_HEALTH"}


def test_what_the_app_sets_wins(vm: VM, app: App) -> None:
    other = app.model_copy(update={"env": {"WEB_CONCURRENCY": "9"}})
    assert environment(vm, other, BOOKWORM)["WEB_CONCURRENCY"] == "9"


def test_the_parameters_of_our_program(vm: VM, app: App) -> None:
    [file] = [
        f for f in apps._configuration(vm, app, BOOKWORM) if f.path == "/etc/onebox/links.json"
    ]
    assert json.loads(file.content) == {
        "schema": 1,
        "data": {
            "domains": ["links.example.com"],
            "health": "/health/ready",
            "processes": [],
            "database": "local",
            "migrates": True,
            "migrate": "alembic upgrade head",
            "migrate_timeout": 1800,
            "migrations_compatible": False,
            "build": False,
            "start_timeout": 60,
            "settle": 2,
            "watch": 60,
            "drain": 30,
            "keep_releases": 5,
            "units": [
                "onebox-listen-links.service", "links.service", "links@.target",
                "links-web@.socket", "links-web@.service", "links-migrate@.service",
            ],
            "timers": [],
            "hooks": {},
        },
    }  # fmt: skip


def test_a_process_beside_web_has_a_unit_and_a_parameter(vm: VM, app: App) -> None:
    processes = [Process(name="queue", command="x"), Process(name="clock", command="y")]
    app = app.model_copy(update={"processes": processes})
    units = "/etc/systemd/system/links"
    assert [file.path for file in apps._units(app)][-2:] == [
        f"{units}-queue@.service",
        f"{units}-clock@.service",
    ]
    [file] = [
        f for f in apps._configuration(vm, app, BOOKWORM) if f.path == "/etc/onebox/links.json"
    ]
    assert json.loads(file.content)["data"]["processes"] == ["queue", "clock"]
