"""The whole deploy, on a host where nothing stands yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import StringCommand

from operations import machine as machine_module
from operations import templates
from settings import VM
from tasks.access import access
from tasks.announce import announce
from tasks.apps import apps
from tasks.certificates import certificates
from tasks.deploy_keys import deploy_keys
from tasks.environment import environment
from tasks.firewall import firewall
from tasks.link_local import link_local
from tasks.lock import lock
from tasks.monitoring import monitoring
from tasks.nginx import nginx
from tasks.postgresql import postgresql
from tasks.preflight import preflight
from tasks.releases import releases
from tasks.resources import resources
from tasks.ssh import ssh
from tasks.system import system
from tasks.timers import timers
from tasks.tools import tools
from tests.unit.hosts import Step, deployed, stdin, text
from tests.unit.inventories import a_vm, an_app, read

PROJECT = Path(__file__).resolve().parent.parent.parent
DEPLOY: tuple[Any, ...] = (
    preflight, lock, environment, system, ssh, firewall, deploy_keys, tools, postgresql, resources,
    apps, link_local, nginx, releases, certificates, nginx, access, timers, monitoring, announce,
)  # fmt: skip
HIDDEN = "sk_live_a1b2c3$`\"'\\"
ENVIRONMENT = "value-of-an-environment-variable"


@pytest.fixture
def vm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> VM:
    monkeypatch.setattr(machine_module, "_cache", {})
    monkeypatch.setenv("LINKS_STRIPE_KEY", HIDDEN)
    (folder / "ca.pem").write_text("PEM\n")
    links = an_app(
        secrets=["STRIPE_KEY"],
        env={"COLOUR": ENVIRONMENT},
        migrate="alembic upgrade head",
        processes=[{"name": "worker", "command": "python -m links.worker"}],
        timers=[{"name": "report", "command": "python -m links.report", "schedule": "daily"}],
        hooks={"after": "true"},
    )
    other = an_app(name="other", domains=["other.example.com"], database="none")
    keys = [{"key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ci", "apps": ["links"]}]
    settings = a_vm(links, other, tls={"server_ca": "ca.pem"}, deploy_keys=keys)
    return read(folder, settings)


@pytest.fixture
def steps(vm: VM) -> list[Step]:
    return deployed(vm, *DEPLOY)


def test_the_deploy_reads_as_a_table_of_contents() -> None:
    lines = (PROJECT / "deploy.py").read_text().splitlines()
    calls = [line.partition("(")[0] for line in lines if "()" in line]
    assert calls == [task.__name__ for task in DEPLOY]


def test_each_task_has_a_file_of_its_name() -> None:
    files = {path.stem for path in (PROJECT / "tasks").glob("*.py")} - {"__init__"}
    assert files == {task.__name__ for task in DEPLOY}


def test_the_log_reads_as_prose(steps: list[Step]) -> None:
    assert [step.name for step in steps] == [
        "Lock | Acquire the server's lock",
        "Environment | Check the server's environment",
        "System | Install the configuration of updates, logs and new database clusters",
        "System | Install Debian packages",
        "System | Install systemd-timesyncd",
        "System | Synchronize the clock",
        "System | Limit the journal's size",
        "System | Start the timer of log rotation",
        "SSH | Allow SSH logins by key only",
        "SSH | Check that sshd's drop-in is in effect",
        "Firewall | Install the firewall's unit",
        "Firewall | Load the drop-in of nftables.service",
        "Firewall | Allow only ports 22, 80, 443",
        "Firewall | Load the firewall, now and at boot",
        "Deploy keys | Install the sysusers.d file of deploy keys",
        "Deploy keys | Create the user of deploy keys",
        "Deploy keys | Install the deploy keys and their sudo rule",
        "Tools | Install uv as uv.lock pins it",
        "Tools | Install certbot as uv.lock pins it",
        "Tools | Install onebox's own programs",
        "PostgreSQL | Install the configuration of the database cluster",
        "PostgreSQL | Install the settings of the database cluster",
        "PostgreSQL | Reserve disk space for PostgreSQL",
        "PostgreSQL | Run PostgreSQL",
        "PostgreSQL | Start PostgreSQL at boot",
        "PostgreSQL | Apply the settings of the database cluster",
        "PostgreSQL | Keep apps out of the databases that every cluster has",
        "PostgreSQL | Set up the database of links",
        "Resources | Install the resource limits of apps",
        "Resources | Apply the resource limits of apps",
        "Apps | Install the sysusers.d file of links",
        "Apps | Create the users of links",
        "Apps | Install the folders, configuration and units of links",
        "Apps | Generate the secret key of links",
        "Apps | Start links at boot",
        "Apps | Install the sysusers.d file of other",
        "Apps | Create the users of other",
        "Apps | Install the folders, configuration and units of other",
        "Apps | Generate the secret key of other",
        "Apps | Start other at boot",
        "Link-local | Install the rules for link-local addresses",
        "Link-local | Block link-local addresses for apps",
        "nginx | Install the configuration of nginx",
        "nginx | Install the drop-in of nginx",
        "nginx | Run nginx",
        "Releases | Release links",
        "Releases | Release other",
        "Certificates | Install the configuration and units of certificate renewal",
        "Certificates | Obtain a certificate for links.example.com",
        "Certificates | Obtain a certificate for other.example.com",
        "Certificates | Update the contact address of the ACME account",
        "Certificates | Start the timer of certificate renewal",
        "nginx | Install the configuration of nginx",
        "nginx | Install the drop-in of nginx",
        "nginx | Run nginx",
        "Access | Record who has access",
        "Timers | Remove obsolete timers of links",
        "Timers | Install the timer report of links",
        "Timers | Start the timer report of links, daily",
        "Timers | Remove obsolete timers of other",
        "Monitoring | Install the configuration and units of monitoring",
        "Monitoring | Create the user of monitoring",
        "Monitoring | Write the checksums of installed files",
        "Monitoring | Start the timer of monitoring",
        "Monitoring | Start the timer of the maintenance window",
        "Done | Check that the apps respond",
    ]


def test_values_travel_on_standard_input_alone(steps: list[Step]) -> None:
    strings = [c for step in steps for c in step.commands if isinstance(c, StringCommand)]
    escaped = templates.env_quote(HIDDEN).strip('"')
    assert [escaped in str(stdin(command)) for command in strings].count(True) == 1
    for command in strings:
        for value in ("sk_live_a1b2c3", ENVIRONMENT, "SECRET_KEY"):
            assert value not in text(command)
            assert value not in repr(command)


def test_the_secret_key_is_new_in_each_run(vm: VM) -> None:
    def key() -> str:
        [step] = [s for s in deployed(vm, apps) if s.name.endswith("the secret key of links")]
        [command] = step.commands
        assert isinstance(command, StringCommand)
        return str(stdin(command))

    assert key() != key()
    assert len(key()) > len("SECRET_KEY=") + 48


def test_every_template_is_used(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    load = templates._environment.loader.get_source  # type: ignore[union-attr]

    def recording(environment: object, name: str) -> object:
        used.add(name)
        return load(environment, name)  # type: ignore[arg-type]

    templates._environment.cache.clear()  # type: ignore[union-attr]
    monkeypatch.setattr(templates._environment.loader, "get_source", recording)
    deployed(vm, *DEPLOY)
    there = {str(p.relative_to(templates.FOLDER)) for p in templates.FOLDER.rglob("*.j2")}
    assert used == there


def test_every_file_under_templates_is_a_template() -> None:
    files = [path for path in templates.FOLDER.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix != ".j2"] == []


def test_nothing_of_postgresql_is_touched_without_a_local_database(folder: Path) -> None:
    vm = read(folder, a_vm(an_app(database="none")))
    assert deployed(vm, postgresql) == []
    packages = deployed(vm, system)[1]
    assert "postgresql" not in str(packages.commands)
