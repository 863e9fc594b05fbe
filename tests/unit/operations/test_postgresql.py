"""Roles and databases: what differs is brought back, and nothing else is touched."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from operations.difference import Difference, mended
from operations.postgresql import (
    PSQL,
    SEQUENCE_RIGHTS,
    TABLE_RIGHTS,
    Cluster,
    Database,
    Settings,
    databases,
    settings_applied,
)
from tests.unit.hosts import commands, stdin, text

LINKS = Database("links", "links-migrate", lock_timeout=5, statement_timeout=600)
PLAIN = {"plain": True, "password": False, "settings": [], "member": False}
LIMITS = ["lock_timeout=5s", "statement_timeout=600s"]
GOOD: dict[str, Any] = {
    "roles": {"links": PLAIN, "links-migrate": {**PLAIN, "settings": LIMITS}, "postgres": {}},
    "databases": {"links": {"owner": "links-migrate", "connect": ["links"]}, "template1": {}},
    "defaults": [{"r": TABLE_RIGHTS, "S": SEQUENCE_RIGHTS}],
}
ATTRIBUTES = (
    "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    " connection limit -1 password null;"
)
LEAVE = (
    "\nselect format('revoke %s from %s', roleid::regrole, member::regrole)\n"
    "from pg_auth_members where member = '\"{0}\"'::regrole \\gexec\n"
)
APP_ROLE = (
    f'alter role "links" {ATTRIBUTES}\n{LEAVE.format("links")}\nalter role "links" reset all;'
)
OWNER_ROLE = (
    f'alter role "links-migrate" {ATTRIBUTES}\n{LEAVE.format("links-migrate")}\n'
    'alter role "links-migrate" reset all;\n'
    "alter role \"links-migrate\" set lock_timeout = '5s';\n"
    "alter role \"links-migrate\" set statement_timeout = '600s';"
)
ACCESS = (
    'alter database "links" owner to "links-migrate";\n'
    'revoke all on database "links" from public;\n'
    'grant connect on database "links" to "links";'
)
DEFAULTS = (
    'alter default privileges for role "links-migrate" grant'
    ' DELETE, INSERT, SELECT, UPDATE on tables to "links";\n'
    'alter default privileges for role "links-migrate" grant'
    ' SELECT, USAGE on sequences to "links";'
)


def statements(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the database and the statements of each command."""
    found = commands(databases, [LINKS], facts={Cluster: state})
    return [(text(command).removeprefix(f"{PSQL} -d "), stdin(command)) for command in found]


def test_a_cluster_is_read_line_by_line() -> None:
    lines = [json.dumps(GOOD["roles"]), json.dumps(GOOD["databases"]), *map(json.dumps, [{}, None])]
    state = Cluster().process(lines)
    assert state == {"roles": GOOD["roles"], "databases": GOOD["databases"], "defaults": [{}, None]}


def test_a_cluster_that_does_not_answer_has_nothing() -> None:
    nothing = {"roles": {}, "databases": {}, "defaults": [None]}
    assert Cluster().process(["null", "null", "null"]) == nothing
    assert Cluster().default() == {"roles": {}, "databases": {}, "defaults": []}


def test_a_cluster_is_asked_once_for_all() -> None:
    command = Cluster().command([LINKS])
    assert command.count(PSQL) == 3
    assert "\n" not in command
    assert f"{PSQL} -v app='\"links\"' -v owner='\"links-migrate\"' -d links" in command


def test_a_cluster_as_described_is_left_alone() -> None:
    assert statements(GOOD) == []


@pytest.mark.parametrize("state", [Cluster().default(), Cluster().process(["null"] * 3)])
def test_a_bare_cluster_gets_everything(state: dict[str, Any]) -> None:
    assert statements(state) == [
        ("postgres", f'create role "links";\n{APP_ROLE}'),
        ("postgres", f'create role "links-migrate";\n{OWNER_ROLE}'),
        ("postgres", 'create database "links" owner "links-migrate";'),
        ("postgres", ACCESS),
        ("links", DEFAULTS),
    ]


@pytest.mark.parametrize(
    ("where", "value", "mended"),
    [
        (("roles", "links", "plain"), False, [("postgres", APP_ROLE)]),
        (("roles", "links", "password"), True, [("postgres", APP_ROLE)]),
        (("roles", "links", "member"), True, [("postgres", APP_ROLE)]),
        (("roles", "links", "settings"), ["role=postgres"], [("postgres", APP_ROLE)]),
        (("roles", "links-migrate", "settings"), LIMITS[:1], [("postgres", OWNER_ROLE)]),
        (("databases", "links", "owner"), "links", [("postgres", ACCESS)]),
        (("databases", "links", "connect"), ["links", "public"], [("postgres", ACCESS)]),
        (("databases", "links", "connect"), [], [("postgres", ACCESS)]),
        (("defaults", 0, "r"), ["SELECT"], [("links", DEFAULTS)]),
        (("defaults", 0), None, [("links", DEFAULTS)]),
    ],
)
def test_what_differs_is_mended_and_nothing_else(
    where: tuple[Any, ...], value: Any, mended: list[tuple[str, str]]
) -> None:
    state = deepcopy(GOOD)
    place = state
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    assert statements(state) == mended


def test_the_owner_has_the_limits_of_a_migration() -> None:
    assert LINKS.owner_settings == LIMITS


@pytest.mark.parametrize("pending", [False, True])
def test_a_setting_may_wait_for_a_restart(*, pending: bool) -> None:
    state = {"pending": pending, "overridden": []}
    assert Settings().process([json.dumps(state)]) == state
    found = commands(settings_applied, "pg.service", facts={Settings: state})
    assert [text(command) for command in found] == ["systemctl restart pg.service"] * pending


def test_a_setting_that_alter_system_overrides_is_reset() -> None:
    state = {"pending": False, "overridden": ["listen_addresses"]}
    [reset] = commands(settings_applied, "pg.service", facts={Settings: state})
    assert "-c 'alter system reset listen_addresses' -c 'select pg_reload_conf()'" in text(reset)
    assert mended(reset) == (
        Difference("setting listen_addresses", "is overridden in postgresql.auto.conf"),
    )


def test_a_host_without_a_cluster_has_nothing_to_apply() -> None:
    assert Settings().process(["null"]) == Settings().default()
