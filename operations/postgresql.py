"""Roles and databases, compared attribute by attribute, so that drift is seen and fixed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host, logger
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta, operation

from operations.difference import Difference, mends
from operations.files import File, Standing, differs, mend

# Apps own their databases: an operator of theirs, found before PostgreSQL's own, would run as the
# superuser; and settings of a database would be the superuser's, too, in there. What waits for
# something that an app holds gives up.
OPTIONS = (
    "search_path=pg_catalog role=none lock_timeout=5s statement_timeout=120s"
    " idle_session_timeout=0 idle_in_transaction_session_timeout=0"
    " default_transaction_read_only=off local_preload_libraries="
)
TRUSTED = "PGOPTIONS='" + " ".join(f"-c {option}" for option in OPTIONS.split()) + "'"
PSQL = f"runuser -u postgres -- env {TRUSTED} timeout -k 5 130 psql -XqAt -v ON_ERROR_STOP=1"
KEPT = "/var/lib/onebox/postgresql"  # settings that a cluster is known to start with
START = 60  # seconds for a cluster to start, or to start again with the previous settings
REFUSED = (
    "PostgreSQL did not start with its new settings, and has the previous ones again. Set a smaller"
    " `shared_buffers` or `max_connections` in `postgresql` in the inventory, and deploy again."
)
# Every cluster has these; apps have no business in them.
SHARED = ("postgres", "template0", "template1")

ROLES = """
select coalesce(json_object_agg(rolname, json_build_object(
  'plain', rolcanlogin and rolinherit and not (rolsuper or rolcreatedb or rolcreaterole
           or rolreplication or rolbypassrls),
  'connections', rolconnlimit,
  'password', rolpassword is not null,
  'settings', coalesce((select json_agg(s order by s) from unnest(setconfig) s), '[]'),
  'member', exists (select from pg_auth_members where member = r.oid))), '{}')
from pg_authid r left join pg_db_role_setting on setrole = r.oid and setdatabase = 0
"""
DATABASES = """
select coalesce(json_object_agg(datname, json_build_object(
  'owner', pg_get_userbyid(datdba),
  'open', datallowconn and datconnlimit = -1 and not datistemplate,
  'connect', (select coalesce(json_agg(distinct case grantee when 0 then 'public'
              else pg_get_userbyid(grantee) end), '[]')
              from aclexplode(coalesce(datacl, acldefault('d', datdba)))
              where privilege_type = 'CONNECT' and grantee <> datdba),
  'temporary', (select coalesce(json_agg(distinct case grantee when 0 then 'public'
              else pg_get_userbyid(grantee) end), '[]')
              from aclexplode(coalesce(datacl, acldefault('d', datdba)))
              where privilege_type = 'TEMPORARY' and grantee <> datdba))), '{}')
from pg_database
"""
# What belongs to a role that is neither the app's nor its migrator's, with the statement that hands
# it over. Left alone: PostgreSQL's own, extensions', and of a superuser's what runs as whoever
# calls it or reads with rights that the migrator must not get. Sequences of a column follow their
# table. Nothing, where an event trigger would have the superuser run another role's code.
HANDED = """
with role as (
  select oid, rolname, rolsuper from pg_roles
  where rolname <> :'app_name' and rolname <> :'owner_name' and rolname !~ '^pg_'
), schema as (
  select oid, nspname, nspowner from pg_namespace
  where nspname !~ '^pg_' and nspname <> 'information_schema'
), member as (
  select classid, objid from pg_depend where deptype = 'e'
), thing as (
  select nspowner as owner, true as plain, 'pg_namespace'::regclass as class, oid,
    format('alter schema %I owner to %I', nspname,
      case nspname when 'public' then 'pg_database_owner' else :'owner_name' end) as statement
  from schema where not exists (
    select from pg_extension join role on role.oid = extowner and rolsuper
    where extnamespace = schema.oid)
  union all
  select relowner, relkind <> 'f', 'pg_class'::regclass, c.oid, format('alter %s %s owner to %I',
    case relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'materialized view'
      when 'f' then 'foreign table' else 'table' end, c.oid::regclass, :'owner_name')
  from pg_class c join schema on schema.oid = relnamespace
  where relkind in ('r', 'p', 'S', 'v', 'm', 'f') and not (relkind = 'S' and exists (
    select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
      and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')))
  union all
  select typowner, true, 'pg_type'::regclass, t.oid, format('alter %s %s owner to %I',
    case typtype when 'd' then 'domain' else 'type' end, t.oid::regtype, :'owner_name')
  from pg_type t join schema on schema.oid = typnamespace
  where typtype in ('d', 'e', 'r') or (typtype = 'c' and exists (
    select from pg_class where pg_class.oid = typrelid and relkind = 'c'))
  union all
  select proowner, false, 'pg_proc'::regclass, p.oid,
    format('alter routine %s owner to %I', p.oid::regprocedure, :'owner_name')
  from pg_proc p join schema on schema.oid = pronamespace
), handed as (
  select role.rolname as owner, statement from thing join role on role.oid = thing.owner
  where (plain or not rolsuper)
    and not exists (select from member where classid = thing.class and objid = thing.oid)
    and not exists (
      select from pg_event_trigger join pg_proc p on p.oid = evtfoid
      join pg_roles r on r.oid = proowner where not r.rolsuper)
)
"""
CONTENT = """
select json_build_object(
  'defaults', (select coalesce(json_object_agg(defaclobjtype, (
      select json_agg(privilege_type order by privilege_type) from aclexplode(defaclacl)
      where grantee = to_regrole(:'app'))), '{}')
    from pg_default_acl where defaclrole = to_regrole(:'owner') and defaclnamespace = 0),
  'owners', (select coalesce(json_agg(distinct owner), '[]') from handed))
"""
SETTINGS = """
with ours as (
  select distinct on (name) name, sourcefile like '%/conf.d/onebox.conf' as last
  from pg_file_settings order by name, seqno desc
)
select json_build_object(
  'pending', (select coalesce(json_agg(name order by name), '[]') from pg_settings
    where pending_restart and name in (select name from ours where last)),
  'foreign', (select coalesce(json_agg(name order by name), '[]') from pg_settings
    where pending_restart and name not in (select name from ours where last)),
  'overridden', (select coalesce(json_agg(distinct name), '[]') from pg_file_settings
    where sourcefile like '%/postgresql.auto.conf' and name in (
      select name from pg_file_settings where sourcefile like '%/conf.d/onebox.conf')))
"""
LEAVE_GROUPS = """
select format('revoke %s from %s', roleid::regrole, member::regrole)
from pg_auth_members where member = '"{name}"'::regrole \\gexec
"""
REVOKE = """
select format('revoke all on database %I from %s', datname,
  case grantee when 0 then 'public' else grantee::regrole::text end)
from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
where datname = '{name}' and grantee <> datdba \\gexec
"""
ROLE_WORDS = {
    "plain": "attributes differ from LOGIN",
    "connections": "has another connection limit",
    "password": "has a password",
    "settings": "has other settings",
    "member": "belongs to a group",
}
# What the app may do with the tables and sequences that its migrations make.
TABLE_RIGHTS = ["DELETE", "INSERT", "SELECT", "UPDATE"]
SEQUENCE_RIGHTS = ["SELECT", "USAGE"]
# How the setting-up of each app's database went in this run, by host and app.
outcomes: dict[tuple[str, str], OperationMeta] = {}


@dataclass(frozen=True)
class Database:
    """An app's database, its role, and the role that owns the schema."""

    name: str
    owner: str
    lock_timeout: int
    """Seconds."""
    statement_timeout: int
    """Seconds."""
    connections: int
    """Connections that the app may have at once, two releases together."""
    owner_connections: int
    """Connections that its migrations may have at once."""
    temp_file_limit: int
    """MiB of temporary files that one session may fill."""

    @property
    def settings(self) -> list[str]:
        """Return what both roles run under, and can't change."""
        return [f"temp_file_limit={self.temp_file_limit}MB"]

    @property
    def owner_settings(self) -> list[str]:
        """Return the limits that migrations run under; asyncpg ignores PGOPTIONS."""
        return [
            f"lock_timeout={self.lock_timeout}s",
            f"statement_timeout={self.statement_timeout}s",
            *self.settings,
        ]


class Cluster(FactBase[dict[str, Any]]):
    """Roles and databases, and what is in the named ones."""

    def command(self, databases: Sequence[Database]) -> str:
        """Return one command that asks for everything."""
        queries = [f"{PSQL} -c {_quoted(ROLES)}", f"{PSQL} -c {_quoted(DATABASES)}"]
        queries += [_asked(database) for database in databases]
        return "; ".join(f"({query} || echo null) 2>/dev/null" for query in queries)

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the state of a host without a cluster."""
        return {"roles": {}, "databases": {}, "content": []}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return the cluster's state."""
        roles, databases, *content = (json.loads(line) for line in output)
        return {"roles": roles or {}, "databases": databases or {}, "content": content}


class Settings(FactBase[dict[str, Any]]):
    """Which settings on disk wait for a restart, ours and others', and which of ours ALTER SYSTEM
    overrides."""

    def command(self) -> str:
        """Return the command."""
        return f"({PSQL} -c {_quoted(SETTINGS)} || echo null) 2>/dev/null"

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the state of a host without a cluster."""
        return {"pending": [], "foreign": [], "overridden": []}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return the settings' state."""
        return json.loads(output[0]) or self.default()


class Buffers(FactBase[int]):
    """MiB of shared_buffers in our settings of a cluster; 0 where there are none."""

    def command(self, path: str) -> str:
        """Return the command."""
        number = "s/^shared_buffers = \\([0-9]*\\)MB$/\\1/p"
        return f"sed -n '{number}' {shlex.quote(path)} 2>/dev/null || true"

    @staticmethod
    def default() -> int:
        """Return that there are none."""
        return 0

    def process(self, output: list[str]) -> int:
        """Return the size."""
        return int(output[0]) if output else 0


class Disk(FactBase[int]):
    """MiB of the disk that the databases are on."""

    def command(self) -> str:
        """Return the command."""
        folder = "$(ls -d /var/lib/postgresql 2>/dev/null || echo /var/lib)"
        return f"df -B1M --output=size {folder} | tail -n 1"

    @staticmethod
    def default() -> int:
        """Return nothing: nobody knows."""
        return 0

    def process(self, output: list[str]) -> int:
        """Return the size."""
        return int(output[-1])


def failed(host: Host) -> list[str]:
    """Return the apps whose database this run could not set up on a host."""
    return [
        app
        for (name, app), outcome in outcomes.items()
        if name == host.name and outcome.is_complete() and outcome.did_error()
    ]


@operation()
def configured(file: File, unit: str, instance: str) -> Generator[StringCommand, None, None]:
    """Replace our settings of a cluster, and keep the last that it has started with.

    PostgreSQL's unit restores those where the new ones don't let it start, at a boot too: what is
    kept is there before the new ones are, and goes when it has started. See the drop-in.
    """
    kept = f"{KEPT}/{instance}"
    standing = host.get_fact(Standing, paths=[file.path, f"{kept}.refused"])
    there, refused = standing.get(file.path), standing.get(f"{kept}.refused")
    if there == file.state:
        return
    active = f"systemctl is-active --quiet {unit}"
    if refused and _content(refused) == _content(file.state):
        told = f"{REFUSED} To try them again as they are: rm {kept}.refused"
        yield StringCommand(f"! {active} || {{ echo {shlex.quote(told)} >&2; false; }}")
    if there and _content(there) != _content(file.state):
        # A cluster that is down has not started with what is there, and tries every second.
        keep = (
            f"[ -e {kept} ] || {{ cp -a {shlex.quote(file.path)} {kept}.new && sync {kept}.new"
            f" && mv -T {kept}.new {kept} && sync {KEPT}; }}"
        )
        yield StringCommand(
            f"rm -f {kept}.tried {kept}.refused; if {active}; then {keep}; else rm -f {kept}; fi"
        )
    yield mends(mend(file, there), Difference(file.path, differs(there, file.state)))


def _content(state: str) -> str:
    return state.split(" ")[2]


@operation()
def settings_applied(unit: str, file: File, instance: str) -> Generator[StringCommand, None, None]:
    """Have our settings in effect; restart the cluster only where that can't be had without, and
    never for a setting of somebody else's.

    Fails where the cluster does not start with them; it has the previous ones again then.
    """
    found = host.get_fact(Settings)
    for name in found["overridden"]:
        # One at a time: ALTER SYSTEM refuses to run in a transaction with another statement.
        reset = f"{PSQL} -c 'alter system reset {name}' -c 'select pg_reload_conf()'"
        overridden = Difference(f"setting {name}", "is overridden in postgresql.auto.conf")
        yield mends(StringCommand(reset), overridden)
    if found["foreign"]:
        names = ", ".join(found["foreign"])
        logger.warning(
            f"{host.print_prefix}PostgreSQL waits for a restart for {names}, which onebox did not"
            f" set; nothing is restarted. When it suits: systemctl restart {unit}"
        )
    elif found["pending"]:
        restart = StringCommand(_restart(unit, file, instance))
        yield mends(restart, Difference(unit, "runs with older settings"))


def _restart(unit: str, file: File, instance: str) -> str:
    """Return a command that restarts a cluster, and fails if it did not start with a file."""
    log = f"/var/log/postgresql/postgresql-{instance}.log"
    answers = f"{PSQL} -c 'select 1' >/dev/null 2>&1"
    is_new = f"[ $(sha256sum < {shlex.quote(file.path)} | cut -d' ' -f1) = {_content(file.state)} ]"
    why = f"tail -n 50 {log} | grep -E '\\] (FATAL|HINT): ' | tail -n 2 | cat -v"
    return (
        f"systemctl restart {unit}; tries=0;"
        f" until {answers} || [ $tries -ge {START} ]; do tries=$((tries + 1)); sleep 1; done;"
        f" {is_new} && {answers} || {{ echo {shlex.quote(REFUSED)}; {why}; false; }} >&2"
    )


@operation()
def shared_closed() -> Generator[StringCommand, None, None]:
    """Keep apps out of the databases that every cluster has."""
    databases = host.get_fact(Cluster, databases=())["databases"]
    for name in SHARED:
        rights = databases.get(name, {})
        if "public" in [*rights.get("connect", []), *rights.get("temporary", [])]:
            revoke = f'revoke connect, temporary on database "{name}" from public;'
            open_ = Difference(f"database {name}", "is open to every role")
            yield mends(_run("postgres", revoke), open_)


@operation()
def database(wanted: Database) -> Generator[StringCommand, None, None]:
    """Have a database, its owner and the app's restricted role exactly as described."""
    cluster = host.get_fact(Cluster, databases=[wanted])
    content = next(iter(cluster["content"]), None) or {}
    yield from _roles(wanted, cluster["roles"])
    yield from _database(wanted, cluster["databases"].get(wanted.name))
    what = f"database {wanted.name}"
    if content.get("defaults") != {"r": TABLE_RIGHTS, "S": SEQUENCE_RIGHTS}:
        grant = _run(wanted.name, _default_privileges(wanted))
        yield mends(grant, Difference(what, "has other default privileges"))
    if owners := content.get("owners"):
        how = f"belongs in part to {', '.join(map(ascii, owners))}, not to {wanted.owner}"
        yield mends(_handed_over(wanted), Difference(what, how))


def _roles(database: Database, roles: dict[str, Any]) -> Iterator[StringCommand]:
    described = (
        (database.name, database.connections, database.settings),
        (database.owner, database.owner_connections, database.owner_settings),
    )
    for name, connections, settings in described:
        wanted = {
            "plain": True, "connections": connections, "password": False, "settings": settings,
            "member": False,
        }  # fmt: skip
        there = roles.get(name)
        if there != wanted:
            yield mends(
                _run("postgres", _role(name, connections, settings, exists=name in roles)),
                Difference(f"role {name}", _how(there, wanted)),
            )


def _how(there: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    if there is None:
        return "is missing"
    return ", ".join(ROLE_WORDS[key] for key in wanted if there.get(key) != wanted[key])


def _role(name: str, connections: int, settings: Sequence[str], *, exists: bool) -> str:
    attributes = "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    pairs = (setting.split("=", 1) for setting in settings)
    return "\n".join([
        *([] if exists else [f'create role "{name}";']),
        f'alter role "{name}" {attributes} connection limit {connections} password null;',
        LEAVE_GROUPS.format(name=name),
        f'alter role "{name}" reset all;',
        *(f"alter role \"{name}\" set {key} = '{value}';" for key, value in pairs),
    ])  # fmt: skip


def _database(database: Database, state: dict[str, Any] | None) -> Iterator[StringCommand]:
    name, owner = database.name, database.owner
    what = f"database {name}"
    if state is None:
        # template1 is what any superuser left in it, and can't be copied while somebody is in it.
        create = f'create database "{name}" owner "{owner}" template template0;'
        yield mends(_run("postgres", create), Difference(what, "is missing"))
    wanted = {"owner": owner, "open": True, "connect": [name], "temporary": [name]}
    if state != wanted:
        # Its owner could close it, and so stop every later deploy.
        free = "allow_connections true connection limit -1 is_template false"
        grant = "\n".join([
            f'alter database "{name}" owner to "{owner}";',
            f'alter database "{name}" {free};',
            REVOKE.format(name=name),
            f'grant connect, temporary on database "{name}" to "{name}";',
        ])  # fmt: skip
        yield mends(_run("postgres", grant), Difference(what, "has another owner or other rights"))


def _default_privileges(database: Database) -> str:
    grant = f'alter default privileges for role "{database.owner}" grant'
    return (
        f'{grant} {", ".join(TABLE_RIGHTS)} on tables to "{database.name}";\n'
        f'{grant} {", ".join(SEQUENCE_RIGHTS)} on sequences to "{database.name}";'
    )


def _handed_over(database: Database) -> StringCommand:
    """Return what gives all that is in a database to its owner. No code of the app's runs by it:
    a change of owner calls nothing but event triggers, and HANDED is empty where those are
    another role's."""
    statements = f"{HANDED}\nselect statement from handed \\gexec\n"
    return StringCommand(f"{PSQL} {_variables(database)} -d {database.name}", _stdin=statements)


def _asked(database: Database) -> str:
    # psql replaces variables in standard input, not in -c.
    psql = f"{PSQL} {_variables(database)} -d {database.name}"
    return f"echo {_quoted(HANDED + CONTENT)} | {psql}"


def _variables(database: Database) -> str:
    values = {
        "app": f'"{database.name}"', "owner": f'"{database.owner}"',
        "app_name": database.name, "owner_name": database.owner,
    }  # fmt: skip
    return " ".join(f"-v {key}={shlex.quote(value)}" for key, value in values.items())


def _run(database: str, statements: str) -> StringCommand:
    return StringCommand(f"{PSQL} -d {database}", _stdin=statements)


def _quoted(text: str) -> str:
    return shlex.quote(" ".join(text.split()))
