"""A throwaway PostgreSQL that listens on a Unix socket and asks who the peer is."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

APP = "links"
OWNER = "links-migrate"
SUPERUSER = "postgres"

OPTIONS = "-c listen_addresses= -c fsync=off -c full_page_writes=off"


class Cluster:
    """A running cluster in `directory`, its socket there too."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self.directory = directory
        self._programs = programs

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"{OPTIONS} -c unix_socket_directories={self.directory}"
        log = self.directory / "log"
        self._as_server("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", options)

    def stop(self) -> None:
        """Stop the server at once, as a crash would."""
        self._as_server("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self._data)

    def create(self) -> None:
        """Make the data directory, where whoever runs the tests may be any of the roles."""
        options = [
            "--no-sync",
            "--auth=peer",
            "--encoding=UTF8",
            "--locale=C",
            f"--username={SUPERUSER}",
        ]
        self._as_server("initdb", *options, "-D", self._data)
        (self._data / "pg_hba.conf").write_text("local all all peer map=tests\n")
        roles = (APP, OWNER, SUPERUSER)
        lines = [f'tests "{pwd.getpwuid(os.geteuid()).pw_name}" "{role}"\n' for role in roles]
        (self._data / "pg_ident.conf").write_text("".join(lines))

    def create_roles(self) -> None:
        """Make the two roles that the deployer makes."""
        self.sql(f'CREATE ROLE "{OWNER}" LOGIN', f'CREATE ROLE "{APP}" LOGIN')

    def create_database(self, name: str) -> None:
        """Make a database as the deployer does: the app may change rows, and no table."""
        self.sql(f'CREATE DATABASE {name} OWNER "{OWNER}"')
        grant = "ALTER DEFAULT PRIVILEGES GRANT"
        self.sql(
            f'{grant} SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{APP}"',
            f'{grant} SELECT, USAGE ON SEQUENCES TO "{APP}"',
            role=OWNER,
            database=name,
        )

    def url(self, role: str, database: str) -> str:
        """The address of a database, as the deployer gives it."""
        return f"postgresql://{role}@/{database}?host={self.directory}"

    def sql(self, *statements: str, role: str = SUPERUSER, database: str = "postgres") -> None:
        """Run statements, each in a transaction of its own."""
        with self._psql(role, database) as client:
            client.communicate(";\n".join(statements) + ";")
        assert client.returncode == 0, statements

    def ask(self, query: str, database: str) -> str:
        """What a query answers, a line for each row."""
        with self._psql(SUPERUSER, database) as client:
            printed, _ = client.communicate(query)
        return printed.strip()

    @contextmanager
    def locked(self, table: str, database: str) -> Iterator[None]:
        """The owner of a table holds it, as a migration may."""
        with self._psql(OWNER, database) as client:
            assert client.stdin
            assert client.stdout
            client.stdin.write(f"BEGIN; LOCK TABLE {table};\n\\echo locked\n")
            client.stdin.flush()
            assert client.stdout.readline() == "locked\n"
            yield

    def processes(self) -> list[int]:
        """The ids of the server's processes."""
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def _psql(self, role: str, database: str) -> subprocess.Popen[str]:
        options = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory), "-U", role]
        return subprocess.Popen(
            [self._programs / "psql", *options, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _as_server(self, program: str, *arguments: str | Path) -> None:
        # PostgreSQL refuses to run as root.
        prefix = ["runuser", "-u", SUPERUSER, "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*prefix, self._programs / program, *arguments],
            check=True,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
        )


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if not found:
        pytest.exit("The tests need PostgreSQL: apt-get install postgresql", returncode=1)
    return found[-1].parent


def _version(initdb: Path) -> int:
    return int(initdb.parts[-3])


@contextmanager
def running() -> Iterator[Cluster]:
    """A new cluster, gone afterwards."""
    programs = _programs()
    # Not pytest's tmp_path, which the server's user can't enter and is long for a socket.
    with tempfile.TemporaryDirectory(prefix="links-") as directory:
        if os.geteuid() == 0:
            shutil.chown(directory, SUPERUSER)
        cluster = Cluster(programs, Path(directory))
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
