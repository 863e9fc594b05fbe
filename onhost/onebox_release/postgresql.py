"""PostgreSQL's own programs, run as one of its roles: the system user of the same name."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from . import durable
from .errors import ReleaseError

TERMINAL = ("TERM", "COLUMNS", "LINES", "LANG", "LC_ALL", "LC_CTYPE", "PAGER", "LESS")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def query(sql: str, *, role: str, database: str = "postgres") -> str:
    """Return what a query answers. Raises ReleaseError where the database doesn't.

    The superuser asks no database of an app's: what an app made there could run as him.
    """
    command = [*_as(role), "psql", "-XqAt", "-d", database, "-c", sql]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if result.returncode:
        raise ReleaseError(f"The database doesn't answer: {result.stderr.strip()}")
    return result.stdout


def exists(database: str) -> bool:
    """Tell whether there is such a database. Raises ReleaseError where nobody answers."""
    return database in query("select datname from pg_database", role="postgres").split()


def dump(database: str, path: Path) -> None:
    """Write a dump for pg_restore, which is there whole or not at all.

    Raises ReleaseError where that fails.
    """
    new = path.with_suffix(".new")
    command = [*_as("postgres"), "pg_dump", "--format=custom", database]
    with new.open("wb") as file:
        result = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, check=False, cwd="/")
        if result.returncode:
            raise ReleaseError(f"The dump failed: {result.stderr.decode(errors='replace')}")
        durable.sync(file)
    durable.rename(new, path)


def prompt(database: str, *, role: str) -> bool:
    """Run psql on this terminal or what is piped in; tell whether all of it went well.

    It reads no file of the role's, which the app could have written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is psql's, to cancel a query
    environment = {name: os.environ[name] for name in TERMINAL if name in os.environ}
    environment |= {"PATH": PATH, "HOME": "/nonexistent", "PSQLRC": "/dev/null"}
    environment |= {"PSQL_HISTORY": "/dev/null", "PGSYSCONFDIR": "/nonexistent"}
    command = [*_as(role), "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", database]
    return subprocess.run(command, check=False, cwd="/", env=environment).returncode == 0


def _as(role: str) -> list[str]:
    return ["runuser", "-u", role, "--"]
