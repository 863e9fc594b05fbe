"""PostgreSQL's client programs, run as one of its roles: the system user of the same name."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
from pathlib import Path

from onebox_release.errors import ReleaseError
from onebox_release.host import durable
from onebox_release.report import plain

SUPERUSER = "postgres"
ANSWER = 20  # seconds for one query
MOST = 1 << 20  # bytes of a result; the app's own functions can return any amount
MEMORY = 256 << 20  # bytes of memory for psql, which buffers the whole result
LOCK_WAIT = 60  # seconds that a dump waits for a table
TIMED_OUT = (124, 137)  # 137 after SIGKILL
# Override settings that the app's role or database may have, and that would apply to us.
OPTIONS = (
    "-c role=none -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0"
    " -c local_preload_libraries="  # a missing library fails each connection
)
TRUSTED = " -c search_path=pg_catalog"
DATABASES_OF = """
select distinct datname from pg_shdepend join pg_database d on d.oid = dbid
where refclassid = 'pg_authid'::regclass
and refobjid = (select oid from pg_roles where rolname = '{role}') order by datname
"""
SQLSTATE = re.compile(r"^\S+:\s+([0-9A-Z]{5}): ", re.MULTILINE)
DETAIL = re.compile(r"^LOCATION: .*\n?", re.MULTILINE)

TERMINAL = ("TERM", "COLUMNS", "LINES", "LANG", "LC_ALL", "LC_CTYPE", "PAGER", "LESS")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class QueryError(ReleaseError):
    """The database rejected a query or did not answer; `state` is the SQLSTATE, if any."""

    def __init__(self, message: str, state: str = "") -> None:
        super().__init__(message)
        self.state = state


def query(sql: str, *, role: str, database: str = "postgres", seconds: int = ANSWER) -> str:
    """Return a query's output. A superuser's search path has only PostgreSQL's own schema.

    Raises QueryError if the database rejects the query or does not answer in time. Do not query an
    app's database as a superuser: what the app created there could run with those rights.
    """
    options = f"{OPTIONS} -c statement_timeout={seconds}s -c lock_timeout={seconds}s"
    options += TRUSTED if role == SUPERUSER else ""
    psql = ["psql", "-XqAt", "-v", "VERBOSITY=verbose", "-d", database, "-c", sql]
    bounds = [*_timeout(seconds + 5), "prlimit", f"--data={MEMORY}"]
    result = captured(_as(role, "env", f"PGOPTIONS={options}", *bounds, *psql))
    if len(result.stdout) + len(result.stderr) > MOST:
        raise QueryError(f"database: the role {role} got a result of more than {MOST >> 20} MiB.")
    if result.returncode in TIMED_OUT:
        raise QueryError(f"database: no answer to the role {role} within {seconds} s.")
    if result.returncode:
        found = SQLSTATE.search(result.stderr)
        message = DETAIL.sub("", SQLSTATE.sub("", result.stderr)).strip()
        raise QueryError(
            f"database: the role {role} got an error from {database}: {plain(message, 500)}",
            found[1] if found else "",
        )
    return result.stdout


def captured(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output. It is stopped soon after MOST bytes."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd="/") as process:
        files = [file for file in (process.stdout, process.stderr) if file]
        texts = {file.fileno(): b"" for file in files}
        with selectors.DefaultSelector() as ready:
            for descriptor in texts:
                ready.register(descriptor, selectors.EVENT_READ)
            while ready.get_map() and sum(map(len, texts.values())) <= MOST:
                for key, _ in ready.select():
                    chunk = os.read(key.fd, 1 << 16)
                    texts[key.fd] += chunk
                    if not chunk:
                        ready.unregister(key.fd)
        for file in files:
            file.close()
    out, error = (text.decode(errors="replace") for text in texts.values())
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def exists(database: str) -> bool:
    """Check whether a database exists. Raises ReleaseError if PostgreSQL does not answer."""
    return database in query("select datname from pg_database", role=SUPERUSER).split()


def databases_of(role: str) -> list[str]:
    """Return the databases in which a role owns objects or has privileges."""
    return query(DATABASES_OF.format(role=role), role=SUPERUSER).splitlines()


def open_to_superuser(database: str) -> None:
    """Revert settings by which a database's owner can prevent its dump or drop."""
    sql = (
        f'alter database "{database}" allow_connections true connection limit -1 is_template false'
    )
    query(sql, role=SUPERUSER)


def dump(database: str, path: Path, seconds: int) -> None:
    """Write a dump for pg_restore, atomically.

    Raises ReleaseError if it fails or takes longer than `seconds`.
    """
    new = path.with_suffix(".new")
    wait = f"--lock-wait-timeout={LOCK_WAIT}s"
    options = ["env", f"PGOPTIONS={OPTIONS}", *_timeout(seconds)]
    pg_dump = [*options, "pg_dump", "--format=custom", wait, database]
    with new.open("wb") as file:
        result = subprocess.run(
            _as(SUPERUSER, *pg_dump), stdout=file, stderr=subprocess.PIPE, check=False, cwd="/"
        )
        if result.returncode:
            new.unlink()
            message = plain(result.stderr.decode(errors="replace").strip(), 1000)
            if result.returncode in TIMED_OUT:
                message = f"not finished within {seconds} s (`migrate_timeout`). {message}"
            raise ReleaseError(f"The dump of the database {database} failed: {message}")
        durable.sync(file)
    durable.rename(new, path)


def prompt(database: str, *, role: str) -> bool:
    """Run psql on this terminal or on piped input; return whether it succeeded.

    It reads no files of the role, which the app could have written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql uses Ctrl-C to cancel a query
    environment = {name: os.environ[name] for name in TERMINAL if name in os.environ}
    environment |= {"PATH": PATH, "HOME": "/nonexistent", "PSQLRC": "/dev/null"}
    environment |= {"PSQL_HISTORY": "/dev/null", "PGSYSCONFDIR": "/nonexistent"}
    command = [*_as(role), "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", database]
    return subprocess.run(command, check=False, cwd="/", env=environment).returncode == 0


def _as(role: str, *command: str) -> list[str]:
    return ["runuser", "-u", role, "--", *command]


def _timeout(seconds: int) -> list[str]:
    return ["timeout", "--kill-after=5", str(seconds)]
