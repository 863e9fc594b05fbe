"""PostgreSQL: one cluster, and for each app a database and two roles."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, systemd
from operations import postgresql as cluster
from operations.machine import machine
from operations.postgresql import Database
from operations.templates import target, template
from settings import VM
from settings.app import App

LEAST = 1024  # MiB of temporary files: the sort for an index on a table of that size
RESERVE = "onebox-reserve.service"
EARLIER = 128  # MiB of shared buffers, whatever the memory, by an older onebox
SETTINGS = "etc/postgresql/VERSION/main/conf.d/onebox.conf"
DROP_IN = "etc/systemd/system/postgresql@.service.d/onebox.conf"


@deploy("PostgreSQL")
def postgresql() -> None:
    """Serve databases on the local socket, to the system user of the same name alone."""
    vm: VM = host.data.vm
    if not vm.local_apps:
        return
    version = machine(host).postgresql
    unit, instance = f"postgresql@{version}-main.service", f"{version}-main"
    path = f"/{target(SETTINGS, version=version)}"
    buffers = shared_buffers(
        vm.postgresql.shared_buffers,
        host.get_fact(cluster.Buffers, path=path),
        machine(host).memory,
    )
    settings = template(SETTINGS, version=version, vm=vm, shared_buffers=buffers)
    access = template("etc/onebox/postgresql/pg_hba.conf")
    files.place(
        name="Describe the database cluster",
        things=[
            files.Folder("/etc/onebox/postgresql", holds=()),
            files.Folder(cluster.KEPT, mode="700"),
            access,
            files.Folder(f"/{DROP_IN.rpartition('/')[0]}"),
            template(DROP_IN),
            template(f"etc/systemd/system/{RESERVE}"),
        ],
    )
    cluster.configured(
        name="Set the cluster's settings", file=settings, unit=unit, instance=instance
    )
    systemd.running(
        name="Keep the disk's last space for PostgreSQL",
        unit=RESERVE,
        proof="/usr/local/bin/onebox-release reserve --check 2>/dev/null",
    )
    systemd.running(
        name="Run PostgreSQL",
        unit=unit,
        reload_for=[settings.path, access.path],
        enabled=False,  # Debian's postgresql.service starts every cluster
    )
    systemd.running(name="Start PostgreSQL at boot", unit="postgresql.service")
    cluster.settings_applied(
        name="Restart PostgreSQL where a setting needs it",
        unit=unit,
        file=settings,
        instance=instance,
    )
    cluster.shared_closed(name="Keep apps out of the databases that every cluster has")
    disk = host.get_fact(cluster.Disk)
    for app in host.loop(vm.local_apps):
        # What one app does to its database keeps none of the others from theirs.
        cluster.outcomes[host.name, app.name] = cluster.database(
            name=f"Set up the database of {app.name}",
            wanted=_database(vm, app, disk),
            _ignore_errors=True,
        )


def shared_buffers(setting: int | None, kept: int, memory: int) -> int:
    """Return MiB of shared buffers: what is set, or an eighth of the memory, 1024 at most.

    The apps have the rest. What an older onebox set, and what differs by a little because the
    kernel counts memory otherwise, is kept: another value restarts PostgreSQL.
    """
    usual = max(32, min(1024, memory // 8))
    is_near = kept == EARLIER or (kept >= 32 and abs(kept - usual) <= 32)
    return setting or (kept if is_near and kept <= memory // 2 else usual)


def _database(vm: VM, app: App, disk: int) -> Database:
    connections, owner_connections = vm.connections
    return Database(
        name=app.name,
        owner=app.migrator,
        lock_timeout=app.lock_timeout,
        statement_timeout=app.statement_timeout,
        connections=connections,
        owner_connections=owner_connections,
        temp_file_limit=vm.postgresql.temp_file_limit or max(LEAST, disk // 10),
    )
