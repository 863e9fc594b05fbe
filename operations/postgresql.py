"""Roles and databases, compared attribute by attribute, so that drift is seen and mended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends

# Apps own their databases: an operator of theirs, found before PostgreSQL's own, would run as the
# superuser.
TRUSTED = "PGOPTIONS='-c search_path=pg_catalog'"
PSQL = f"runuser -u postgres -- env {TRUSTED} psql -XqAt -v ON_ERROR_STOP=1"

ROLES = """
select coalesce(json_object_agg(rolname, json_build_object(
  'plain', rolcanlogin and rolinherit and not (rolsuper or rolcreatedb or rolcreaterole
           or rolreplication or rolbypassrls) and rolconnlimit = -1,
  'password', rolpassword is not null,
  'settings', coalesce((select json_agg(s order by s) from unnest(setconfig) s), '[]'),
  'member', exists (select from pg_auth_members where member = r.oid))), '{}')
from pg_authid r left join pg_db_role_setting on setrole = r.oid and setdatabase = 0
"""
DATABASES = """
select coalesce(json_object_agg(datname, json_build_object(
  'owner', pg_get_userbyid(datdba),
  'connect', (select coalesce(json_agg(distinct case grantee when 0 then 'public'
              else pg_get_userbyid(grantee) end), '[]')
              from aclexplode(coalesce(datacl, acldefault('d', datdba)))
              where privilege_type = 'CONNECT' and grantee <> datdba))), '{}')
from pg_database
"""
DEFAULTS = """
select coalesce(json_object_agg(defaclobjtype, (
  select json_agg(privilege_type order by privilege_type) from aclexplode(defaclacl)
  where grantee = to_regrole(:'app'))), '{}')
from pg_default_acl where defaclrole = to_regrole(:'owner')
"""
SETTINGS = """
select json_build_object(
  'pending', exists (select from pg_settings where pending_restart),
  'overridden', (select coalesce(json_agg(distinct name), '[]') from pg_file_settings
    where sourcefile like '%/postgresql.auto.conf' and name in (
      select name from pg_file_settings where sourcefile like '%/conf.d/onebox.conf')))
"""
LEAVE_GROUPS = """
select format('revoke %s from %s', roleid::regrole, member::regrole)
from pg_auth_members where member = '"{name}"'::regrole \\gexec
"""
ROLE_WORDS = {
    "plain": "may more, or less, than log in",
    "password": "has a password",
    "settings": "has other settings",
    "member": "belongs to a group",
}
# What the app may do with the tables and sequences that its migrations make.
TABLE_RIGHTS = ["DELETE", "INSERT", "SELECT", "UPDATE"]
SEQUENCE_RIGHTS = ["SELECT", "USAGE"]


@dataclass(frozen=True)
class Database:
    """An app's database, its role, and the role that owns the schema."""

    name: str
    owner: str
    lock_timeout: int
    """Seconds."""
    statement_timeout: int
    """Seconds."""

    @property
    def owner_settings(self) -> list[str]:
        """Return the limits that migrations run under; asyncpg ignores PGOPTIONS."""
        return [
            f"lock_timeout={self.lock_timeout}s",
            f"statement_timeout={self.statement_timeout}s",
        ]


class Cluster(FactBase[dict[str, Any]]):
    """Roles, databases and default privileges, and which settings wait for a restart."""

    def command(self, databases: Sequence[Database]) -> str:
        """Return one command that asks for everything."""
        queries = [f"{PSQL} -c {_quoted(ROLES)}", f"{PSQL} -c {_quoted(DATABASES)}"]
        queries += [_defaults(database) for database in databases]
        return "; ".join(f"({query} || echo null) 2>/dev/null" for query in queries)

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the state of a host without a cluster."""
        return {"roles": {}, "databases": {}, "defaults": []}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return the cluster's state."""
        roles, databases, *defaults = (json.loads(line) for line in output)
        return {"roles": roles or {}, "databases": databases or {}, "defaults": defaults}


class Settings(FactBase[dict[str, Any]]):
    """Whether a setting on disk waits for a restart, and which of ours ALTER SYSTEM overrides."""

    def command(self) -> str:
        """Return the command."""
        return f"({PSQL} -c {_quoted(SETTINGS)} || echo null) 2>/dev/null"

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the state of a host without a cluster."""
        return {"pending": False, "overridden": []}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return the settings' state."""
        return json.loads(output[0]) or self.default()


@operation()
def settings_applied(unit: str) -> Generator[StringCommand, None, None]:
    """Have our settings in effect; restart the cluster only where that can't be had without."""
    for name in host.get_fact(Settings)["overridden"]:
        # One at a time: ALTER SYSTEM refuses to run in a transaction with another statement.
        reset = f"{PSQL} -c 'alter system reset {name}' -c 'select pg_reload_conf()'"
        overridden = Difference(f"setting {name}", "is overridden in postgresql.auto.conf")
        yield mends(StringCommand(reset), overridden)
    if host.get_fact(Settings)["pending"]:
        restart = StringCommand(f"systemctl restart {unit}")
        yield mends(restart, Difference(unit, "runs with older settings"))


@operation()
def databases(wanted: Sequence[Database]) -> Generator[StringCommand, None, None]:
    """Have each database, its owner and the app's restricted role exactly as described."""
    cluster = host.get_fact(Cluster, databases=wanted)
    for database, defaults in zip(wanted, cluster["defaults"] or [None] * len(wanted), strict=True):
        yield from _roles(database, cluster["roles"])
        yield from _database(database, cluster["databases"].get(database.name))
        if defaults != {"r": TABLE_RIGHTS, "S": SEQUENCE_RIGHTS}:
            how = "has other default privileges"
            yield mends(
                _run(database.name, _default_privileges(database)),
                Difference(f"database {database.name}", how),
            )


def _roles(database: Database, roles: dict[str, Any]) -> Iterator[StringCommand]:
    for name, settings in ((database.name, []), (database.owner, database.owner_settings)):
        wanted = {"plain": True, "password": False, "settings": settings, "member": False}
        there = roles.get(name)
        if there != wanted:
            yield mends(
                _run("postgres", _role(name, settings, exists=name in roles)),
                Difference(f"role {name}", _how(there, wanted)),
            )


def _how(there: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    if there is None:
        return "is missing"
    return ", ".join(ROLE_WORDS[key] for key in wanted if there.get(key) != wanted[key])


def _role(name: str, settings: Sequence[str], *, exists: bool) -> str:
    attributes = "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    pairs = (setting.split("=", 1) for setting in settings)
    return "\n".join([
        *([] if exists else [f'create role "{name}";']),
        f'alter role "{name}" {attributes} connection limit -1 password null;',
        LEAVE_GROUPS.format(name=name),
        f'alter role "{name}" reset all;',
        *(f"alter role \"{name}\" set {key} = '{value}';" for key, value in pairs),
    ])  # fmt: skip


def _database(database: Database, state: dict[str, Any] | None) -> Iterator[StringCommand]:
    name, owner = database.name, database.owner
    what = f"database {name}"
    if state is None:
        create = _run("postgres", f'create database "{name}" owner "{owner}";')
        yield mends(create, Difference(what, "is missing"))
    if state != {"owner": owner, "connect": [name]}:
        grant = (
            f'alter database "{name}" owner to "{owner}";\n'
            f'revoke all on database "{name}" from public;\n'
            f'grant connect on database "{name}" to "{name}";'
        )
        yield mends(_run("postgres", grant), Difference(what, "has another owner or other rights"))


def _default_privileges(database: Database) -> str:
    grant = f'alter default privileges for role "{database.owner}" grant'
    return (
        f'{grant} {", ".join(TABLE_RIGHTS)} on tables to "{database.name}";\n'
        f'{grant} {", ".join(SEQUENCE_RIGHTS)} on sequences to "{database.name}";'
    )


def _defaults(database: Database) -> str:
    variables = (
        f"-v app={_quoted(_ident(database.name))} -v owner={_quoted(_ident(database.owner))}"
    )
    # psql replaces variables in standard input, not in -c.
    return f"echo {_quoted(' '.join(DEFAULTS.split()))} | {PSQL} {variables} -d {database.name}"


def _run(database: str, statements: str) -> StringCommand:
    return StringCommand(f"{PSQL} -d {database}", _stdin=statements)


def _ident(name: str) -> str:
    return f'"{name}"'


def _quoted(text: str) -> str:
    return shlex.quote(" ".join(text.split()))
