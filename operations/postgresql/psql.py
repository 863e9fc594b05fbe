"""How psql is run as PostgreSQL's superuser."""

from __future__ import annotations

import shlex

from pyinfra.api.command import StringCommand

# Apps own their databases, so an app could define an operator that psql would find before
# PostgreSQL's own and run as the superuser, or settings of its database that would apply to the
# superuser. The timeouts end what waits for a lock that an app holds.
OPTIONS = (
    "search_path=pg_catalog role=none lock_timeout=5s statement_timeout=120s"
    " idle_session_timeout=0 idle_in_transaction_session_timeout=0"
    " default_transaction_read_only=off local_preload_libraries="
)
TRUSTED = "PGOPTIONS='" + " ".join(f"-c {option}" for option in OPTIONS.split()) + "'"
PSQL = f"runuser -u postgres -- env {TRUSTED} timeout -k 5 130 psql -XqAt -v ON_ERROR_STOP=1"


def run(database: str, statements: str) -> StringCommand:
    """Return the command that runs statements in a database."""
    return StringCommand(f"{PSQL} -d {database}", _stdin=statements)


def on_one_line(query: str) -> str:
    """Return a query as one quoted argument on one line."""
    return shlex.quote(" ".join(query.split()))
