"""PostgreSQL: one cluster, and for each app a database and two roles."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from app_settings import App
from operations import files, systemd
from operations import postgresql as cluster
from operations.machine import machine
from operations.postgresql import Database
from operations.templates import template
from settings import VM

LEAST = 1024  # MiB of temporary files: the sort for an index on a table of that size
RESERVE = "onebox-reserve.service"
DROP_IN = "etc/systemd/system/postgresql@.service.d/onebox.conf"


@deploy("PostgreSQL")
def postgresql() -> None:
    """Serve databases on the local socket, to the system user of the same name alone."""
    vm: VM = host.data.vm
    if not vm.local_apps:
        return
    version = machine(host).postgresql
    unit = f"postgresql@{version}-main.service"
    settings = template("etc/postgresql/VERSION/main/conf.d/onebox.conf", version=version, vm=vm)
    access = template("etc/onebox/postgresql/pg_hba.conf")
    files.place(
        name="Describe the database cluster",
        things=[
            files.Folder("/etc/onebox/postgresql", holds=()),
            access,
            settings,
            files.Folder(f"/{DROP_IN.rpartition('/')[0]}"),
            template(DROP_IN),
            template(f"etc/systemd/system/{RESERVE}"),
        ],
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
    cluster.settings_applied(name="Restart PostgreSQL where a setting needs it", unit=unit)
    cluster.shared_closed(name="Keep apps out of the databases that every cluster has")
    disk = host.get_fact(cluster.Disk)
    for app in host.loop(vm.local_apps):
        # What one app does to its database keeps none of the others from theirs.
        cluster.outcomes[host.name, app.name] = cluster.database(
            name=f"Set up the database of {app.name}",
            wanted=_database(vm, app, disk),
            _ignore_errors=True,
        )


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
