"""Roles and databases: what differs is brought back, and nothing else is touched."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from operations.difference import Difference, mended
from operations.files import File, Standing
from operations.postgresql import (
    HANDED,
    PSQL,
    SEQUENCE_RIGHTS,
    SHARED,
    TABLE_RIGHTS,
    Buffers,
    Cluster,
    Database,
    Disk,
    Settings,
    configured,
    database,
    settings_applied,
    shared_closed,
)
from tasks.postgresql import shared_buffers
from tests.unit.hosts import commands, run, stdin, text

LINKS = Database(
    "links", "links-migrate", lock_timeout=5, statement_timeout=600, connections=92,
    owner_connections=5, temp_file_limit=2048,
)  # fmt: skip
PLAIN = {"plain": True, "connections": 92, "password": False, "settings": [], "member": False}
TEMPORARY = ["temp_file_limit=2048MB"]
LIMITS = ["lock_timeout=5s", "statement_timeout=600s", *TEMPORARY]
GOOD: dict[str, Any] = {
    "roles": {
        "links": {**PLAIN, "settings": TEMPORARY},
        "links-migrate": {**PLAIN, "connections": 5, "settings": LIMITS},
        "postgres": {},
    },
    "databases": {
        "links": {
            "owner": "links-migrate", "open": True, "connect": ["links"], "temporary": ["links"],
        },
        **{name: {"owner": "postgres", "connect": [], "temporary": []} for name in SHARED},
    },
    "content": [{"defaults": {"r": TABLE_RIGHTS, "S": SEQUENCE_RIGHTS}, "owners": []}],
}  # fmt: skip
ATTRIBUTES = (
    "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    " connection limit {} password null;"
)
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
ACCESS = (
    'alter database "links" owner to "links-migrate";\n'
    'alter database "links" allow_connections true connection limit -1 is_template false;\n'
    "\nselect format('revoke all on database %I from %s', datname,\n"
    "  case grantee when 0 then 'public' else grantee::regrole::text end)\n"
    "from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))\n"
    "where datname = 'links' and grantee <> datdba \\gexec\n\n"
    'grant connect, temporary on database "links" to "links";'
)
DEFAULTS = (
    'alter default privileges for role "links-migrate" grant'
    ' DELETE, INSERT, SELECT, UPDATE on tables to "links";\n'
    'alter default privileges for role "links-migrate" grant'
    ' SELECT, USAGE on sequences to "links";'
)
VARIABLES = (
    "-v app='\"links\"' -v owner='\"links-migrate\"' -v app_name=links -v owner_name=links-migrate"
)


def made(state: dict[str, Any]) -> list[Any]:
    """Return the commands that bring this state to what is wanted."""
    return commands(database, LINKS, facts={Cluster: state})


def statements(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the database and the statements of each command."""
    return [(text(each).removeprefix(f"{PSQL} -d "), stdin(each)) for each in made(state)]


def test_a_cluster_is_read_line_by_line() -> None:
    lines = [json.dumps(GOOD["roles"]), json.dumps(GOOD["databases"]), *map(json.dumps, [{}, None])]
    state = Cluster().process(lines)
    assert state == {"roles": GOOD["roles"], "databases": GOOD["databases"], "content": [{}, None]}


def test_a_cluster_that_does_not_answer_has_nothing() -> None:
    nothing = {"roles": {}, "databases": {}, "content": [None]}
    assert Cluster().process(["null", "null", "null"]) == nothing
    assert Cluster().default() == {"roles": {}, "databases": {}, "content": []}


def test_a_cluster_is_asked_once_for_all() -> None:
    command = Cluster().command([LINKS])
    assert command.count(PSQL) == 3
    assert "\n" not in command
    assert f"{PSQL} {VARIABLES} -d links" in command


def test_nothing_that_an_app_set_or_holds_is_in_our_way() -> None:
    for option in ("search_path=pg_catalog", "role=none", "lock_timeout=5s",
                   "default_transaction_read_only=off"):  # fmt: skip
        assert f"-c {option}" in PSQL
    assert "timeout -k 5 130 psql" in PSQL


def test_a_cluster_as_described_is_left_alone() -> None:
    assert statements(GOOD) == []
    assert commands(shared_closed, facts={Cluster: GOOD}) == []


@pytest.mark.parametrize("state", [Cluster().default(), Cluster().process(["null"] * 3)])
def test_a_bare_cluster_gets_everything(state: dict[str, Any]) -> None:
    assert statements(state) == [
        ("postgres", f'create role "links";\n{APP_ROLE}'),
        ("postgres", f'create role "links-migrate";\n{OWNER_ROLE}'),
        ("postgres", 'create database "links" owner "links-migrate" template template0;'),
        ("postgres", ACCESS),
        ("links", DEFAULTS),
    ]


@pytest.mark.parametrize(
    ("where", "value", "mended"),
    [
        (("roles", "links", "plain"), False, [("postgres", APP_ROLE)]),
        (("roles", "links", "connections"), -1, [("postgres", APP_ROLE)]),
        (("roles", "links", "password"), True, [("postgres", APP_ROLE)]),
        (("roles", "links", "member"), True, [("postgres", APP_ROLE)]),
        (("roles", "links", "settings"), ["role=postgres"], [("postgres", APP_ROLE)]),
        (("roles", "links", "settings"), [], [("postgres", APP_ROLE)]),
        (("roles", "links-migrate", "connections"), -1, [("postgres", OWNER_ROLE)]),
        (("roles", "links-migrate", "settings"), LIMITS[:1], [("postgres", OWNER_ROLE)]),
        (("databases", "links", "owner"), "links", [("postgres", ACCESS)]),
        (("databases", "links", "open"), False, [("postgres", ACCESS)]),
        (("databases", "links", "connect"), ["links", "public"], [("postgres", ACCESS)]),
        (("databases", "links", "connect"), [], [("postgres", ACCESS)]),
        (("databases", "links", "temporary"), [], [("postgres", ACCESS)]),
        (("content", 0, "defaults", "r"), ["SELECT"], [("links", DEFAULTS)]),
        (("content", 0), None, [("links", DEFAULTS)]),
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


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("right", ["connect", "temporary"])
def test_a_database_that_every_cluster_has_is_closed_to_apps(name: str, right: str) -> None:
    state = deepcopy(GOOD)
    state["databases"][name][right] = ["monitor", "public"]
    [revoke] = commands(shared_closed, facts={Cluster: state})
    assert stdin(revoke) == f'revoke connect, temporary on database "{name}" from public;'
    assert mended(revoke) == (Difference(f"database {name}", "is open to every role"),)


def test_what_belongs_to_another_role_is_handed_over() -> None:
    state = deepcopy(GOOD)
    state["content"][0]["owners"] = ["old", "post\x1bgres"]
    [hand] = made(state)
    assert text(hand) == f"{PSQL} {VARIABLES} -d links"
    assert stdin(hand) == f"{HANDED}\nselect statement from handed \\gexec\n"
    how = "belongs in part to 'old', 'post\\x1bgres', not to links-migrate"
    assert mended(hand) == (Difference("database links", how),)


def test_the_disks_size_is_read() -> None:
    assert Disk().process(["  1M-blocks", " 9876"]) == 9876
    assert Disk().default() == 0


def test_the_owner_has_the_limits_of_a_migration() -> None:
    assert LINKS.owner_settings == LIMITS


UNIT, INSTANCE = "pg.service", "15-main"
KEPT = "/var/lib/onebox/postgresql/15-main"
CONF = File("/etc/pg.conf", "a = 1\n")
EARLIER = File("/etc/pg.conf", "a = 0\n")


def configuring(**standing: str) -> list[Any]:
    """Return the commands that place CONF, where these files stand."""
    files = {CONF.path: standing.get("conf"), f"{KEPT}.refused": standing.get("refused")}
    facts = {Standing: {path: state for path, state in files.items() if state}}
    return commands(configured, CONF, UNIT, INSTANCE, facts=facts)


def applying(**found: list[str]) -> list[Any]:
    """Return the commands that have settings in effect."""
    state = {"pending": [], "foreign": [], "overridden": [], **found}
    assert Settings().process([json.dumps(state)]) == state
    return commands(settings_applied, UNIT, CONF, INSTANCE, facts={Settings: state})


def test_settings_that_stand_are_left_alone() -> None:
    assert configuring(conf=CONF.state) == []


def test_the_first_settings_replace_none() -> None:
    [write] = configuring()
    assert stdin(write) == CONF.content


def test_settings_that_a_cluster_started_with_are_kept_before_others_are_there() -> None:
    keep, write = configuring(conf=EARLIER.state)
    assert text(keep) == (
        f"rm -f {KEPT}.tried {KEPT}.refused; if systemctl is-active --quiet pg.service; then"
        f" [ -e {KEPT} ] || {{ cp -a /etc/pg.conf {KEPT}.new && sync {KEPT}.new"
        f" && mv -T {KEPT}.new {KEPT} && sync /var/lib/onebox/postgresql; }};"
        f" else rm -f {KEPT}; fi"
    )
    assert stdin(write) == CONF.content
    assert mended(write) == (Difference("/etc/pg.conf", "was edited"),)


def test_settings_that_were_refused_are_not_tried_each_night() -> None:
    first, *_ = configuring(conf=EARLIER.state, refused=CONF.state)
    assert text(first).startswith("! systemctl is-active --quiet pg.service || { echo ")
    assert f"rm {KEPT}.refused" in text(first)
    keep, _ = configuring(conf=EARLIER.state, refused=EARLIER.state)
    assert "cp -a" in text(keep)


def test_a_setting_of_ours_may_wait_for_a_restart_which_must_succeed() -> None:
    assert applying() == []
    [restart] = applying(pending=["shared_buffers"])
    assert text(restart).startswith("systemctl restart pg.service; tries=0; until ")
    assert f"[ $(sha256sum < /etc/pg.conf | cut -d' ' -f1) = {CONF.state.split()[2]} ]" in text(
        restart
    )
    assert mended(restart) == (Difference("pg.service", "runs with older settings"),)


@pytest.mark.parametrize("pending", [[], ["shared_buffers"]])
def test_a_setting_of_somebody_elses_is_told_and_restarts_nothing(
    pending: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert applying(foreign=["huge_pages"], pending=pending) == []
    assert "PostgreSQL waits for a restart for huge_pages, which onebox did not set" in caplog.text


def test_a_setting_that_alter_system_overrides_is_reset() -> None:
    [reset] = applying(overridden=["listen_addresses"])
    assert "-c 'alter system reset listen_addresses' -c 'select pg_reload_conf()'" in text(reset)
    assert mended(reset) == (
        Difference("setting listen_addresses", "is overridden in postgresql.auto.conf"),
    )


def test_shared_buffers_are_read_where_there_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "onebox.conf"
    assert run(Buffers().command(str(path))) == [], "and no failure on a bare server"
    path.write_text("max_connections = 100\nshared_buffers = 128MB\n")
    assert Buffers().process(run(Buffers().command(str(path)))) == 128
    assert (Buffers().process([]), Buffers().default()) == (0, 0)


@pytest.mark.parametrize(
    ("setting", "kept", "memory", "taken"),
    [
        (None, 0, 480, 60),
        (None, 0, 100, 32),
        (None, 0, 2000, 250),
        (None, 0, 64_000, 1024),
        (None, 128, 64_000, 128),  # an older onebox's: another value would restart PostgreSQL
        (None, 128, 200, 32),  # more than half
        (None, 249, 2000, 249),  # as another kernel counts memory
        (None, 4000, 2000, 250),
        (64, 128, 2000, 64),
    ],
)
def test_shared_buffers_are_from_the_memory(
    setting: int | None, kept: int, memory: int, taken: int
) -> None:
    assert shared_buffers(setting, kept, memory) == taken


def test_a_host_without_a_cluster_has_nothing_to_apply() -> None:
    assert Settings().process(["null"]) == Settings().default()
