"""The cluster, the roles, and who can connect to a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tasks.postgresql import shared_buffers

from . import outside
from .connection import Host
from .sql import can_connect, query

if TYPE_CHECKING:
    from settings import VM
    from settings.app import App

PORT = 5432
TABLES = """
select c.relname, pg_get_userbyid(c.relowner), p.privilege,
       has_table_privilege(current_user, c.oid, p.privilege)
from pg_class c cross join unnest(array[
  'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p(privilege)
where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace order by 1, 3
"""
GRANTED = {"SELECT", "INSERT", "UPDATE", "DELETE"}
CAN_CREATE = """
select bool_or(has_schema_privilege(current_user, oid, 'CREATE'))
       or has_database_privilege(current_user, current_database(), 'CREATE')
from pg_namespace
"""
ATTRIBUTES = """
select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
       rolpassword is null, exists (select from pg_auth_members where member = r.oid)
from pg_authid r where rolname = '{role}'
"""
OTHER_OWNERS = """
select pg_get_userbyid(relowner), relname from pg_class
where relnamespace = 'public'::regnamespace and pg_get_userbyid(relowner) <> '{owner}'
"""
PRIVILEGED_ROLES = """
select distinct case grantee when 0 then 'everybody' else pg_get_userbyid(grantee) end
from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
where datname = '{database}' and privilege_type in ('CONNECT', 'TEMPORARY')
"""


@pytest.fixture(scope="session", autouse=True)
def _cluster(vm: VM) -> None:
    if not vm.local_apps:
        pytest.skip("no app has its database on this server")


@pytest.fixture(scope="session")
def local(app: App) -> App:
    """An app with its database on this server."""
    if app.database != "local":
        pytest.skip(f'the database of {app.name} is "{app.database}"')
    return app


@pytest.fixture(scope="session")
def unit(host: Host) -> str:
    """The unit of the newest cluster; an upgrade may leave an older, stopped one."""
    lines = host.check_output("pg_lsclusters --no-header").splitlines()
    version, name, *_ = max((line.split() for line in lines), key=lambda cluster: int(cluster[0]))
    return f"postgresql@{version}-{name}.service"


def test_cluster_runs_and_starts_at_boot(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service("postgresql.service").is_enabled


def test_cluster_is_always_restarted(host: Host, unit: str) -> None:
    properties = host.service(unit).systemd_properties
    assert properties["Restart"] == "always"
    assert properties["RestartUSec"] == "1s"
    assert properties["StartLimitIntervalUSec"] == "0"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("data_checksums", "on"), ("server_encoding", "UTF8"), ("listen_addresses", "")],
)
def test_cluster_setting_is_in_effect(host: Host, setting: str, value: str) -> None:
    assert query(host, f"show {setting}") == ([value] if value else [])


def test_cluster_has_the_settings_of_the_inventory(host: Host, vm: VM) -> None:
    assert query(host, "show max_connections") == [str(vm.postgresql.max_connections)]
    statement = "select pg_size_bytes(current_setting('shared_buffers')) / 1048576"
    [buffers] = map(int, query(host, statement))
    memory = int(host.check_output("awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo"))
    assert buffers == shared_buffers(vm.postgresql.shared_buffers, buffers, memory)
    assert 16 <= buffers <= memory // 2


def test_cluster_has_started_with_its_settings(host: Host) -> None:
    assert host.check_output("ls /var/lib/onebox/postgresql") == ""


def test_no_setting_waits_for_a_restart(host: Host) -> None:
    assert query(host, "select name from pg_settings where pending_restart") == []


def test_only_peer_authentication_on_the_local_socket_is_allowed(host: Host) -> None:
    rules = "select type, database, user_name, auth_method, error from pg_hba_file_rules"
    assert query(host, rules) == ["local|{all}|{all}|peer|"]


def test_port_is_closed_from_outside(address: str) -> None:
    assert not outside.is_open(address, PORT)


def test_database_is_utf8_and_owned_by_the_migrator(host: Host, local: App) -> None:
    statement = (
        "select pg_encoding_to_char(encoding), pg_get_userbyid(datdba)"  # noqa: S608
        f" from pg_database where datname = '{local.name}'"
    )
    assert query(host, statement) == [f"UTF8|{local.migrator}"]


def test_roles_have_no_attribute_but_login(host: Host, local: App) -> None:
    for role in (local.name, local.migrator):
        assert query(host, ATTRIBUTES.format(role=role)) == ["t|f|f|f|f|f|t|f"], role


def test_app_and_migrator_can_connect_as_themselves(host: Host, local: App) -> None:
    for user in (local.name, local.migrator):
        assert query(host, "select current_user", database=local.name, user=user) == [user]


def test_no_other_user_can_connect_to_the_database(host: Host, vm: VM, local: App) -> None:
    others = {user for app in vm.apps if app != local for user in (app.name, app.migrator)}
    for user in ("www-data", "nobody", *sorted(others)):
        for role in (user, local.name, local.migrator, "postgres"):
            assert not can_connect(host, local.name, user=user, role=role), f"{user} as {role}"


def test_no_other_role_has_privileges_on_the_database(host: Host, local: App) -> None:
    roles = query(host, PRIVILEGED_ROLES.format(database=local.name))
    assert set(roles) == {local.name, local.migrator}


@pytest.mark.parametrize("database", ["postgres", "template0", "template1"])
def test_apps_cannot_connect_to_databases_that_every_cluster_has(
    host: Host, local: App, database: str
) -> None:
    assert "everybody" not in query(host, PRIVILEGED_ROLES.format(database=database))
    for user in (local.name, local.migrator):
        assert not can_connect(host, database, user=user, role=user)


def test_all_apps_together_leave_connections_for_maintenance(host: Host, vm: VM) -> None:
    limits = "select rolname, rolconnlimit from pg_roles where rolname = any('{%s}')"
    roles = [role for app in vm.local_apps for role in (app.name, app.migrator)]
    found = dict(row.split("|") for row in query(host, limits % ",".join(roles)))
    connections, migrations = (str(count) for count in vm.connections)
    for app in vm.local_apps:
        assert (found[app.name], found[app.migrator]) == (connections, migrations)
    reserved = query(host, "select current_setting('superuser_reserved_connections')::int")
    assert sum(map(int, found.values())) + int(reserved[0]) <= vm.postgresql.max_connections


def test_app_can_create_temporary_tables_within_a_limit(host: Host, local: App) -> None:
    for user in (local.name, local.migrator):
        statements = "create temporary table t (i int); show temp_file_limit"
        [limit] = query(host, statements, database=local.name, user=user)
        assert limit != "-1"
        raise_limit = "runuser -u %s -- psql -XqAt -d %s -c 'set temp_file_limit = -1'"
        assert not host.run(raise_limit, user, local.name).succeeded


def test_migrator_owns_all_tables(host: Host, local: App) -> None:
    assert query(host, OTHER_OWNERS.format(owner=local.migrator), database=local.name) == []


def test_app_cannot_connect_as_its_migrator(host: Host, local: App) -> None:
    assert not can_connect(host, local.name, user=local.name, role=local.migrator)


def test_app_can_use_its_tables_but_not_change_them(host: Host, local: App) -> None:
    rows = query(host, TABLES, database=local.name, user=local.name)
    if local.migrate:
        assert rows
    for table, owner, privilege, granted in (row.split("|") for row in rows):
        assert owner == local.migrator, table
        assert (granted == "t") == (privilege in GRANTED), f"{privilege} on {table}"


def test_app_can_create_nothing_in_its_database(host: Host, local: App) -> None:
    assert query(host, CAN_CREATE, database=local.name, user=local.name) == ["f"]


def test_migrations_have_timeouts(host: Host, local: App) -> None:
    statement = (
        "select setting from pg_settings where name in ('lock_timeout', 'statement_timeout')"
        " order by name"
    )
    milliseconds = [local.lock_timeout * 1000, local.statement_timeout * 1000]
    rows = query(host, statement, database=local.name, user=local.migrator)
    assert [int(row) for row in rows] == milliseconds
