"""Roles of an app and of its migrations, and the app's privileges on what migrations create."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyinfra.api.command import StringCommand

from operations.difference import Difference, fixes
from operations.postgresql.psql import run
from operations.postgresql.states import Database, RoleState

LEAVE_GROUPS = """
select format('revoke %s from %s', roleid::regrole, member::regrole)
from pg_auth_members where member = '"{name}"'::regrole \\gexec
"""
# The app's privileges on tables and sequences that its migrations create.
TABLE_PRIVILEGES = ["DELETE", "INSERT", "SELECT", "UPDATE"]
SEQUENCE_PRIVILEGES = ["SELECT", "USAGE"]
DEFAULT_PRIVILEGES = {"r": TABLE_PRIVILEGES, "S": SEQUENCE_PRIVILEGES}


def repair_roles(database: Database, current: Mapping[str, RoleState]) -> Iterator[StringCommand]:
    """Yield the commands that create or repair both roles of a database."""
    expected = {
        database.name: RoleState(connections=database.connections, settings=database.settings),
        database.owner: RoleState(
            connections=database.owner_connections, settings=database.owner_settings
        ),
    }
    for name, role in expected.items():
        if current.get(name) != role:
            yield fixes(
                run("postgres", _statements(name, role, exists=name in current)),
                Difference(f"role {name}", _describe_difference(current.get(name), role)),
            )


def grant_default_privileges(database: Database) -> StringCommand:
    """Return the command that grants the app its privileges on what migrations create."""
    grant = f'alter default privileges for role "{database.owner}" grant'
    statements = (
        f'{grant} {", ".join(TABLE_PRIVILEGES)} on tables to "{database.name}";\n'
        f'{grant} {", ".join(SEQUENCE_PRIVILEGES)} on sequences to "{database.name}";'
    )
    difference = Difference(
        f"database {database.name}",
        f"lacks the default privileges of the app on {database.owner}'s tables",
    )
    return fixes(run(database.name, statements), difference)


def _describe_difference(current: RoleState | None, expected: RoleState) -> str:
    if current is None:
        return "is missing"
    texts = {
        f"has attributes other than LOGIN (found {', '.join(current.attributes)})": (
            current.attributes != expected.attributes
        ),
        f"has connection limit {current.connections}, not {expected.connections}": (
            current.connections != expected.connections
        ),
        "has a password": current.has_password,
        f"has settings of {_names(current.settings)}, not {_names(expected.settings)}": (
            _names(current.settings) != _names(expected.settings)
        ),
        "has other values of its settings": (
            _names(current.settings) == _names(expected.settings)
            and current.settings != expected.settings
        ),
        "is a member of another role": current.is_member,
    }
    return ", ".join(text for text, applies in texts.items() if applies)


def _names(settings: tuple[str, ...]) -> str:
    """Return settings without their values, as a person may have set a secret."""
    return ", ".join(setting.partition("=")[0] for setting in settings) or "nothing"


def _statements(name: str, role: RoleState, *, exists: bool) -> str:
    attributes = "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    pairs = (setting.split("=", 1) for setting in role.settings)
    return "\n".join([
        *([] if exists else [f'create role "{name}";']),
        f'alter role "{name}" {attributes} connection limit {role.connections} password null;',
        LEAVE_GROUPS.format(name=name),
        f'alter role "{name}" reset all;',
        *(f"alter role \"{name}\" set {key} = '{value}';" for key, value in pairs),
    ])  # fmt: skip
