"""Queries over PostgreSQL's local socket."""

from __future__ import annotations

from .connection import Host


def query(
    host: Host, statement: str, *, database: str = "postgres", user: str = "postgres"
) -> list[str]:
    """Return the rows that the system user `user` gets; columns are separated by |."""
    command = "runuser -u %s -- psql -XqAt -v ON_ERROR_STOP=1 -d %s -c %s"
    rows: list[str] = host.check_output(command, user, database, statement).splitlines()
    return rows


def can_connect(host: Host, database: str, *, user: str, role: str) -> bool:
    """Return whether the system user `user` can connect to the database as `role`."""
    command = "runuser -u %s -- psql -XqAt -d %s -U %s -c 'select 1'"
    return bool(host.run(command, user, database, role).succeeded)
