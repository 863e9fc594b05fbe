"""PostgreSQL's own programs, run as one of its roles: the system user of the same name."""

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
ANSWER = 20  # seconds for a query of ours
MOST = 1 << 20  # bytes of an answer; the app's own functions may make any answer of a table
MEMORY = 256 << 20  # bytes that psql, which holds an answer as a whole, may take
LOCK_WAIT = 60  # seconds that a dump waits for a table
TIMED_OUT = (124, 137)  # exit codes of timeout(1), the second where it had to kill
# An app's role or database may have settings of its own, which would be ours, too.
OPTIONS = (
    "-c role=none -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0"
    " -c local_preload_libraries="  # one that is missing ends each connection
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
    """The database refused a query, or didn't answer; `state` is its SQLSTATE, if it gave one."""

    def __init__(self, message: str, state: str = "") -> None:
        super().__init__(message)
        self.state = state


def query(sql: str, *, role: str, database: str = "postgres", seconds: int = ANSWER) -> str:
    """Return what a query answers. A superuser's sees no schema but PostgreSQL's own.

    Raises QueryError where the database refuses, or doesn't answer in time. The superuser asks no
    database of an app's: what an app made there could run as him.
    """
    options = f"{OPTIONS} -c statement_timeout={seconds}s -c lock_timeout={seconds}s"
    options += TRUSTED if role == SUPERUSER else ""
    psql = ["psql", "-XqAt", "-v", "VERBOSITY=verbose", "-d", database, "-c", sql]
    bounds = [*_within(seconds + 5), "prlimit", f"--data={MEMORY}"]
    result = captured(_as(role, "env", f"PGOPTIONS={options}", *bounds, *psql))
    if len(result.stdout) + len(result.stderr) > MOST:
        raise QueryError(f"database: more than {MOST >> 20} MiB of answer to the role {role}.")
    if result.returncode in TIMED_OUT:
        raise QueryError(f"database: no answer within {seconds} s to the role {role}.")
    if result.returncode:
        found = SQLSTATE.search(result.stderr)
        told = DETAIL.sub("", SQLSTATE.sub("", result.stderr)).strip()
        raise QueryError(
            f"database: the role {role} got an error from {database}: {plain(told, 500)}",
            found[1] if found else "",
        )
    return result.stdout


def captured(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command; return what it writes. Soon after MOST bytes it is cut off."""
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
    """Tell whether there is such a database. Raises ReleaseError where nobody answers."""
    return database in query("select datname from pg_database", role=SUPERUSER).split()


def databases_of(role: str) -> list[str]:
    """Return the databases in which a role owns something, or was granted something."""
    return query(DATABASES_OF.format(role=role), role=SUPERUSER).splitlines()


def open_to_superuser(database: str) -> None:
    """Undo what its owner can do to keep a database from being dumped or dropped."""
    sql = (
        f'alter database "{database}" allow_connections true connection limit -1 is_template false'
    )
    query(sql, role=SUPERUSER)


def dump(database: str, path: Path, seconds: int) -> None:
    """Write a dump for pg_restore, which is there whole or not at all.

    Raises ReleaseError where that fails, or takes longer.
    """
    new = path.with_suffix(".new")
    wait = f"--lock-wait-timeout={LOCK_WAIT}s"
    options = ["env", f"PGOPTIONS={OPTIONS}", *_within(seconds)]
    pg_dump = [*options, "pg_dump", "--format=custom", wait, database]
    with new.open("wb") as file:
        result = subprocess.run(
            _as(SUPERUSER, *pg_dump), stdout=file, stderr=subprocess.PIPE, check=False, cwd="/"
        )
        if result.returncode:
            new.unlink()
            told = plain(result.stderr.decode(errors="replace").strip(), 1000)
            if result.returncode in TIMED_OUT:
                told = f"not done within {seconds} s (`migrate_timeout`). {told}"
            raise ReleaseError(f"The dump of the database {database} failed: {told}")
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


def _as(role: str, *command: str) -> list[str]:
    return ["runuser", "-u", role, "--", *command]


def _within(seconds: int) -> list[str]:
    return ["timeout", "--kill-after=5", str(seconds)]
