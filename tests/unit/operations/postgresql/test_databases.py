"""Databases: differences are repaired, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from operations.difference import Difference, differences_of
from operations.postgresql.databases import SHARED, close_shared
from operations.postgresql.facts import Cluster
from operations.postgresql.states import ClusterState
from tests.unit.hosts import commands, stdin
from tests.unit.operations.postgresql.clusters import (
    GOOD,
    repairs,
    statements,
    with_database,
)

ACCESS = (
    'alter database "links" owner to "links-migrate";\n'
    'alter database "links" allow_connections true connection limit -1 is_template false;\n'
    "\nselect format('revoke all on database %I from %s', datname,\n"
    "  case grantee when 0 then 'public' else grantee::regrole::text end)\n"
    "from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))\n"
    "where datname = 'links' and grantee <> datdba \\gexec\n\n"
    'grant connect, temporary on database "links" to "links";'
)


def test_a_cluster_as_described_is_left_alone() -> None:
    assert statements(GOOD) == []
    assert commands(close_shared, facts={Cluster: GOOD}) == []


@pytest.mark.parametrize("state", [Cluster().default(), Cluster().process(["null"] * 3)])
def test_a_new_cluster_gets_everything(state: ClusterState) -> None:
    app, owner, create, access, defaults = statements(state)
    assert app[1].startswith('create role "links";\n')
    assert owner[1].startswith('create role "links-migrate";\n')
    assert create == (
        "postgres", 'create database "links" owner "links-migrate" template template0;'
    )  # fmt: skip
    assert access == ("postgres", ACCESS)
    assert defaults[0] == "links"


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"owner": "links"}, "is owned by 'links', not links-migrate"),
        ({"is_open": False}, "refuses or limits connections, or is a template"),
        ({"connect": ("links", "public")}, "gives CONNECT to 'links', 'public', not links"),
        ({"connect": ()}, "gives CONNECT to no role, not links"),
        (
            {"owner": "a\nb", "temporary": ()},
            "is owned by 'a\\nb', not links-migrate, gives TEMPORARY to no role, not links",
        ),
    ],
)
def test_a_database_that_differs_is_repaired(change: dict[str, Any], how: str) -> None:
    state = with_database("links", **change)
    assert statements(state) == [("postgres", ACCESS)]
    [command] = repairs(state)
    assert differences_of(command) == (Difference("database links", how),)


def test_a_new_database_is_open_until_its_privileges_are_set() -> None:
    differences = [each for command in repairs(ClusterState()) for each in differences_of(command)]
    found = [each.how for each in differences if each.what == "database links"]
    assert found[:2] == ["is missing", "is open to every role"]


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("right", ["connect", "temporary"])
def test_a_database_that_every_cluster_has_is_closed_to_apps(name: str, right: str) -> None:
    state = with_database(name, **{right: ("monitor", "public")})
    [revoke] = commands(close_shared, facts={Cluster: state})
    assert stdin(revoke) == f'revoke connect, temporary on database "{name}" from public;'
    assert differences_of(revoke) == (Difference(f"database {name}", "is open to every role"),)
