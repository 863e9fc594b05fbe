"""Questions to PostgreSQL, asked over the local socket."""

from __future__ import annotations

from .server import Host


def ask(host: Host, query: str, *, database: str = "postgres", user: str = "postgres") -> list[str]:
    """Return the rows that the system user `user` gets; columns are parted by |."""
    command = "runuser -u %s -- psql -XqAt -v ON_ERROR_STOP=1 -d %s -c %s"
    rows: list[str] = host.check_output(command, user, database, query).splitlines()
    return rows


def can_open(host: Host, database: str, *, user: str, role: str) -> bool:
    """Tell whether the system user `user` gets into the database as `role`."""
    command = "runuser -u %s -- psql -XqAt -d %s -U %s -c 'select 1'"
    return bool(host.run(command, user, database, role).succeeded)
