"""A database as the inventory describes it, and a cluster that has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from operations.postgresql.databases import SHARED, set_up
from operations.postgresql.facts import Cluster
from operations.postgresql.psql import PSQL
from operations.postgresql.roles import DEFAULT_PRIVILEGES
from operations.postgresql.states import (
    ClusterState,
    Content,
    Database,
    DatabaseState,
    RoleState,
)
from tests.unit.hosts import commands, stdin, text

LINKS = Database(
    "links", "links-migrate", lock_timeout=5, statement_timeout=600, connections=92,
    owner_connections=5, temp_file_limit=2048,
)  # fmt: skip
TEMPORARY = ("temp_file_limit=2048MB",)
LIMITS = ("lock_timeout=5s", "statement_timeout=600s", *TEMPORARY)
APP = RoleState(connections=92, settings=TEMPORARY)
OWNER = RoleState(connections=5, settings=LIMITS)
DATABASE = DatabaseState("links-migrate", connect=("links",), temporary=("links",))
CONTENT = Content(DEFAULT_PRIVILEGES)
GOOD = ClusterState(
    {"links": APP, "links-migrate": OWNER, "postgres": RoleState(attributes=("SUPERUSER",))},
    {"links": DATABASE, **{name: DatabaseState("postgres") for name in SHARED}},
    (CONTENT,),
)
VARIABLES = (
    "-v app='\"links\"' -v owner='\"links-migrate\"' -v app_name=links -v owner_name=links-migrate"
)


def with_role(name: str, **changes: Any) -> ClusterState:
    """Return the cluster with a changed role."""
    return replace(GOOD, roles={**GOOD.roles, name: replace(GOOD.roles[name], **changes)})


def with_database(name: str, **changes: Any) -> ClusterState:
    """Return the cluster with a changed database."""
    changed = {name: replace(GOOD.databases[name], **changes)}
    return replace(GOOD, databases={**GOOD.databases, **changed})


def repairs(state: ClusterState) -> list[Any]:
    """Return the commands that bring this state to the expected one."""
    return commands(set_up, LINKS, facts={Cluster: state})


def statements(state: ClusterState) -> list[tuple[str, str]]:
    """Return the database and the statements of each command."""
    return [(text(each).removeprefix(f"{PSQL} -d "), stdin(each)) for each in repairs(state)]
