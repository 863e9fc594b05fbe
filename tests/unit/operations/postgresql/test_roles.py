"""Roles and privileges: differences are repaired, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from operations.difference import Difference, differences_of
from operations.postgresql.states import ClusterState, Content
from tests.unit.operations.postgresql.clusters import (
    GOOD,
    LIMITS,
    LINKS,
    repairs,
    statements,
    with_role,
)

ATTRIBUTES = (
    "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    " connection limit {} password null;"
)
NAMES = "lock_timeout, statement_timeout, temp_file_limit"
LEAVE = (
    "\nselect format('revoke %s from %s', roleid::regrole, member::regrole)\n"
    "from pg_auth_members where member = '\"{0}\"'::regrole \\gexec\n"
)
APP_ROLE = (
    f'alter role "links" {ATTRIBUTES.format(92)}\n{LEAVE.format("links")}\n'
    'alter role "links" reset all;\n'
    "alter role \"links\" set temp_file_limit = '2048MB';"
)
OWNER_ROLE = (
    f'alter role "links-migrate" {ATTRIBUTES.format(5)}\n{LEAVE.format("links-migrate")}\n'
    'alter role "links-migrate" reset all;\n'
    "alter role \"links-migrate\" set lock_timeout = '5s';\n"
    "alter role \"links-migrate\" set statement_timeout = '600s';\n"
    "alter role \"links-migrate\" set temp_file_limit = '2048MB';"
)
DEFAULTS = (
    'alter default privileges for role "links-migrate" grant'
    ' DELETE, INSERT, SELECT, UPDATE on tables to "links";\n'
    'alter default privileges for role "links-migrate" grant'
    ' SELECT, USAGE on sequences to "links";'
)


@pytest.mark.parametrize(
    ("name", "change", "expected", "how"),
    [
        (
            "links",
            {"attributes": ("NOINHERIT", "SUPERUSER")},
            APP_ROLE,
            "has attributes other than LOGIN (found NOINHERIT, SUPERUSER)",
        ),
        ("links", {"connections": -1}, APP_ROLE, "has connection limit -1, not 92"),
        ("links", {"has_password": True}, APP_ROLE, "has a password"),
        ("links", {"is_member": True}, APP_ROLE, "is a member of another role"),
        (
            "links",
            {"settings": ("role=postgres",)},
            APP_ROLE,
            "has settings of role, not temp_file_limit",
        ),
        ("links", {"settings": ()}, APP_ROLE, "has settings of nothing, not temp_file_limit"),
        (
            "links",
            {"settings": ("temp_file_limit=1",)},
            APP_ROLE,
            "has other values of its settings",
        ),
        ("links-migrate", {"connections": -1}, OWNER_ROLE, "has connection limit -1, not 5"),
        (
            "links-migrate",
            {"settings": LIMITS[:1]},
            OWNER_ROLE,
            f"has settings of lock_timeout, not {NAMES}",
        ),
        (
            "links-migrate",
            {"settings": (), "has_password": True},
            OWNER_ROLE,
            f"has a password, has settings of nothing, not {NAMES}",
        ),
    ],
)
def test_a_role_that_differs_is_repaired(
    name: str, change: dict[str, Any], expected: str, how: str
) -> None:
    state = with_role(name, **change)
    assert statements(state) == [("postgres", expected)]
    [command] = repairs(state)
    assert differences_of(command) == (Difference(f"role {name}", how),)


def test_missing_roles_are_created() -> None:
    state = replace(GOOD, roles={})
    assert statements(state) == [
        ("postgres", f'create role "links";\n{APP_ROLE}'),
        ("postgres", f'create role "links-migrate";\n{OWNER_ROLE}'),
    ]


@pytest.mark.parametrize(
    "content", [Content({"r": ["SELECT"], "S": ["SELECT", "USAGE"]}), Content()]
)
def test_other_default_privileges_are_repaired(content: Content) -> None:
    state = replace(GOOD, contents=(content,))
    assert statements(state) == [("links", DEFAULTS)]
    [command] = repairs(state)
    how = "lacks the default privileges of the app on links-migrate's tables"
    assert differences_of(command) == (Difference("database links", how),)


def test_a_new_database_gets_default_privileges() -> None:
    assert statements(ClusterState())[-1] == ("links", DEFAULTS)


def test_the_owner_has_the_limits_of_a_migration() -> None:
    assert LINKS.owner_settings == LIMITS
