"""The cluster's roles and databases, and the disk that they are on, read from the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pyinfra.api.facts import FactBase

from operations.postgresql.ownership import MISOWNED, psql_in
from operations.postgresql.psql import PSQL, on_one_line
from operations.postgresql.states import (
    ClusterState,
    Content,
    Database,
    DatabaseState,
    RoleState,
)

ROLES = """
select coalesce(json_object_agg(rolname, json_build_object(
  'attributes', to_json(array_remove(array[
    case when not rolcanlogin then 'NOLOGIN' end, case when not rolinherit then 'NOINHERIT' end,
    case when rolsuper then 'SUPERUSER' end, case when rolcreatedb then 'CREATEDB' end,
    case when rolcreaterole then 'CREATEROLE' end, case when rolreplication then 'REPLICATION' end,
    case when rolbypassrls then 'BYPASSRLS' end], null)),
  'connections', rolconnlimit,
  'has_password', rolpassword is not null,
  'settings', coalesce((select json_agg(s order by s) from unnest(setconfig) s), '[]'),
  'is_member', exists (select from pg_auth_members where member = r.oid))), '{}')
from pg_authid r left join pg_db_role_setting on setrole = r.oid and setdatabase = 0
"""
DATABASES = """
select coalesce(json_object_agg(datname, json_build_object(
  'owner', pg_get_userbyid(datdba),
  'is_open', datallowconn and datconnlimit = -1 and not datistemplate,
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
CONTENT = """
select json_build_object(
  'default_privileges', (select coalesce(json_object_agg(defaclobjtype, (
      select json_agg(privilege_type order by privilege_type) from aclexplode(defaclacl)
      where grantee = to_regrole(:'app'))), '{}')
    from pg_default_acl where defaclrole = to_regrole(:'owner') and defaclnamespace = 0),
  'other_owners', (select coalesce(json_agg(distinct owner), '[]') from misowned))
"""


class Cluster(FactBase[ClusterState]):
    """Roles and databases, and the content of the given databases."""

    def command(self, databases: Sequence[Database]) -> str:
        """Return one command for all queries."""
        queries = [f"{PSQL} -c {on_one_line(ROLES)}", f"{PSQL} -c {on_one_line(DATABASES)}"]
        queries += [_content_query(database) for database in databases]
        return "; ".join(f"({query} || echo null) 2>/dev/null" for query in queries)

    @staticmethod
    def default() -> ClusterState:
        """Return an empty cluster."""
        return ClusterState()

    def process(self, output: list[str]) -> ClusterState:
        """Return the cluster's state."""
        roles, databases, *contents = (json.loads(line) or {} for line in output)
        return ClusterState(
            {name: RoleState(**_with_tuples(role)) for name, role in roles.items()},
            {name: DatabaseState(**_with_tuples(each)) for name, each in databases.items()},
            tuple(Content(**_with_tuples(content)) for content in contents),
        )


class Disk(FactBase[int]):
    """The size in MiB of the disk that the databases are on."""

    def command(self) -> str:
        """Return the command."""
        folder = "$(ls -d /var/lib/postgresql 2>/dev/null || echo /var/lib)"
        return f"df -B1M --output=size {folder} | tail -n 1"

    @staticmethod
    def default() -> int:
        """Return 0: the size is unknown."""
        return 0

    def process(self, output: list[str]) -> int:
        """Return the size."""
        return int(output[-1])


def _content_query(database: Database) -> str:
    # psql replaces variables in standard input, not in -c.
    return f"echo {on_one_line(MISOWNED + CONTENT)} | {psql_in(database)}"


def _with_tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
