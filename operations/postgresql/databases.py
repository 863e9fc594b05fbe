"""Databases of apps, and those that every cluster has."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.outcomes import Outcomes, failed_apps
from operations.postgresql.facts import Cluster
from operations.postgresql.ownership import transfer
from operations.postgresql.psql import run
from operations.postgresql.roles import (
    DEFAULT_PRIVILEGES,
    grant_default_privileges,
    repair_roles,
)
from operations.postgresql.states import ClusterState, Content, Database, DatabaseState

# Every cluster has these; apps must not use them.
SHARED = ("postgres", "template0", "template1")
REVOKE = """
select format('revoke all on database %I from %s', datname,
  case grantee when 0 then 'public' else grantee::regrole::text end)
from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
where datname = '{name}' and grantee <> datdba \\gexec
"""
outcomes: Outcomes = {}  # of `set_up`


def failed(host: Host) -> list[str]:
    """Return the apps whose database this run could not set up on a host."""
    return failed_apps(outcomes, host)


@operation()
def close_shared() -> Generator[StringCommand, None, None]:
    """Keep apps out of the databases that every cluster has."""
    cluster: ClusterState = host.get_fact(Cluster, databases=())
    for name in SHARED:
        state = cluster.databases.get(name)
        if state and "public" in (*state.connect, *state.temporary):
            revoke = f'revoke connect, temporary on database "{name}" from public;'
            difference = Difference(f"database {name}", "is open to every role")
            yield fixes(run("postgres", revoke), difference)


@operation()
def set_up(database: Database) -> Generator[StringCommand, None, None]:
    """Create or repair a database, its owner, and the app's restricted role."""
    cluster: ClusterState = host.get_fact(Cluster, databases=[database])
    content = next(iter(cluster.contents), Content())
    yield from repair_roles(database, cluster.roles)
    yield from _repair_database(database, cluster.databases.get(database.name))
    if content.default_privileges != DEFAULT_PRIVILEGES:
        yield grant_default_privileges(database)
    if content.other_owners:
        owners = ", ".join(map(ascii, content.other_owners))
        how = f"has objects owned by {owners}, not {database.owner}"
        yield fixes(transfer(database), Difference(f"database {database.name}", how))


def _repair_database(database: Database, current: DatabaseState | None) -> Iterator[StringCommand]:
    name, owner = database.name, database.owner
    what = f"database {name}"
    if current is None:
        # Not from template1: an admin may have changed it, and it can't be copied while in use.
        create = f'create database "{name}" owner "{owner}" template template0;'
        yield fixes(run("postgres", create), Difference(what, "is missing"))
    if current != DatabaseState(owner, connect=(name,), temporary=(name,)):
        difference = Difference(what, _describe_difference(current, name, owner))
        yield fixes(run("postgres", _access(database)), difference)


def _describe_difference(current: DatabaseState | None, name: str, owner: str) -> str:
    """Return how a database's owner and privileges differ; a new one's are those of PostgreSQL."""
    if current is None:
        return "is open to every role"
    texts = [f"is owned by {current.owner!a}, not {owner}"] if current.owner != owner else []
    if not current.is_open:
        texts.append("refuses or limits connections, or is a template")
    for privilege, roles in (("CONNECT", current.connect), ("TEMPORARY", current.temporary)):
        if roles != (name,):
            texts.append(
                f"gives {privilege} to {', '.join(map(ascii, roles)) or 'no role'}, not {name}"
            )
    return ", ".join(texts)


def _access(database: Database) -> str:
    name, owner = database.name, database.owner
    # The owner could have closed it, which would stop every later deploy.
    open_ = "allow_connections true connection limit -1 is_template false"
    return "\n".join([
        f'alter database "{name}" owner to "{owner}";',
        f'alter database "{name}" {open_};',
        REVOKE.format(name=name),
        f'grant connect, temporary on database "{name}" to "{name}";',
    ])  # fmt: skip
