"""PostgreSQL: one cluster, with a database and two roles per app."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, systemd
from operations.machine import machine
from operations.postgresql import databases
from operations.postgresql import settings as cluster_settings
from operations.postgresql.facts import Disk
from operations.postgresql.states import Database
from operations.release import PROGRAM
from operations.templates import target, template
from settings import VM
from settings.app import App

MIN_TEMPORARY = 1024  # MiB of temporary files, to sort an index on a table of that size
RESERVE = "onebox-reserve.service"
EARLIER = 128  # MiB of shared buffers that an older onebox set, for any memory
SETTINGS = "etc/postgresql/VERSION/main/conf.d/onebox.conf"
DROP_IN = "etc/systemd/system/postgresql@.service.d/onebox.conf"


@deploy("PostgreSQL")
def postgresql() -> None:
    """Run a cluster on the local socket, where each system user is the role of the same name."""
    vm: VM = host.data.vm
    if vm.local_apps:
        _cluster(vm)
        _databases(vm)


def _cluster(vm: VM) -> None:
    version = machine(host).postgresql
    unit, instance = f"postgresql@{version}-main.service", f"{version}-main"
    settings = _settings(vm, version)
    access = template("etc/onebox/postgresql/pg_hba.conf")
    files.install(
        name="Install the configuration of the database cluster",
        entries=[
            files.Folder("/etc/onebox/postgresql", allowed=()),
            files.Folder(cluster_settings.KEPT, mode="700"),
            access,
            files.Folder(f"/{DROP_IN.rpartition('/')[0]}"),
            template(DROP_IN),
            template(f"etc/systemd/system/{RESERVE}"),
        ],
    )
    cluster_settings.configure(
        name="Install the settings of the database cluster",
        file=settings,
        unit=unit,
        instance=instance,
    )
    systemd.activate(
        name="Reserve disk space for PostgreSQL",
        unit=RESERVE,
        check=f"{PROGRAM} reserve --check 2>/dev/null",
    )
    systemd.activate(
        name="Run PostgreSQL",
        unit=unit,
        reload_for=[settings.path, access.path],
        enabled=False,  # Debian's postgresql.service starts every cluster
    )
    systemd.activate(name="Start PostgreSQL at boot", unit="postgresql.service")
    cluster_settings.apply_settings(
        name="Apply the settings of the database cluster",
        unit=unit,
        file=settings,
        instance=instance,
    )


def _databases(vm: VM) -> None:
    databases.close_shared(name="Keep apps out of the databases that every cluster has")
    disk = host.get_fact(Disk)
    for app in host.loop(vm.local_apps):
        # A failure of one app's database must not stop the others.
        databases.outcomes[host.name, app.name] = databases.set_up(
            name=f"Set up the database of {app.name}",
            database=_database(vm, app, disk),
            _ignore_errors=True,
        )


def _settings(vm: VM, version: str) -> files.File:
    path = f"/{target(SETTINGS, version=version)}"
    buffers = shared_buffers(
        vm.postgresql.shared_buffers,
        host.get_fact(cluster_settings.Buffers, path=path),
        machine(host).memory,
    )
    return template(SETTINGS, version=version, vm=vm, shared_buffers=buffers)


def shared_buffers(setting: int | None, current: int, memory: int) -> int:
    """Return MiB of shared buffers: the setting, or an eighth of the memory, at most 1024.

    The value of an older onebox is kept, and one that is nearly right because another kernel counts
    memory differently: a change restarts PostgreSQL.
    """
    usual = max(32, min(1024, memory // 8))
    is_near = current == EARLIER or (current >= 32 and abs(current - usual) <= 32)
    return setting or (current if is_near and current <= memory // 2 else usual)


def _database(vm: VM, app: App, disk: int) -> Database:
    connections, owner_connections = vm.connections
    return Database(
        name=app.name,
        owner=app.migrator,
        lock_timeout=app.lock_timeout,
        statement_timeout=app.statement_timeout,
        connections=connections,
        owner_connections=owner_connections,
        temp_file_limit=vm.postgresql.temp_file_limit or max(MIN_TEMPORARY, disk // 10),
    )
