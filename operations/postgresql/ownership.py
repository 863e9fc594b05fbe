"""Objects in an app's database that belong to another role than its owner."""

from __future__ import annotations

import shlex

from pyinfra.api.command import StringCommand

from operations.postgresql.psql import PSQL
from operations.postgresql.states import Database

# Objects of a role that is neither the app's nor its migrator's, each with the statement that
# changes the owner. Excluded: objects of PostgreSQL and of extensions, and those of a superuser
# that run as their caller or read with rights which the migrator must not get. Sequences of a
# column follow their table. Empty if an event trigger would have the superuser run another role's
# code.
MISOWNED = """
with role as (
  select oid, rolname, rolsuper from pg_roles
  where rolname <> :'app_name' and rolname <> :'owner_name' and rolname !~ '^pg_'
), schema as (
  select oid, nspname, nspowner from pg_namespace
  where nspname !~ '^pg_' and nspname <> 'information_schema'
), member as (
  select classid, objid from pg_depend where deptype = 'e'
), item as (
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
), misowned as (
  select role.rolname as owner, statement from item join role on role.oid = item.owner
  where (plain or not rolsuper)
    and not exists (select from member where classid = item.class and objid = item.oid)
    and not exists (
      select from pg_event_trigger join pg_proc p on p.oid = evtfoid
      join pg_roles r on r.oid = proowner where not r.rolsuper)
)
"""


def transfer(database: Database) -> StringCommand:
    """Return the command that gives such objects to the database's owner.

    It runs no code of the app: changing an owner calls nothing but event triggers, and MISOWNED is
    empty if those are another role's.
    """
    statements = f"{MISOWNED}\nselect statement from misowned \\gexec\n"
    return StringCommand(psql_in(database), _stdin=statements)


def psql_in(database: Database) -> str:
    """Return the command line of psql in a database, with the variables of MISOWNED."""
    values = {
        "app": f'"{database.name}"', "owner": f'"{database.owner}"',
        "app_name": database.name, "owner_name": database.owner,
    }  # fmt: skip
    variables = " ".join(f"-v {key}={shlex.quote(value)}" for key, value in values.items())
    return f"{PSQL} {variables} -d {database.name}"
