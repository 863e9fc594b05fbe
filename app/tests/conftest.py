"""A PostgreSQL for the run, and a database and a server of the app for each test."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from links.application import create_app
from links.settings import Settings
from tests import cluster as postgresql
from tests.cluster import APP, OWNER, Cluster

ROOT = Path(__file__).parent.parent
SECRET_KEY = "0123456789abcdef0123456789abcdef"
TARGET = "https://example.org/a?b=c#d"
PASSWORD = "correct horse battery"
QUEUE = "pgqueuer, pgqueuer_log, pgqueuer_schedules, pgqueuer_statistics"
TABLES = f"users, sessions, links, clicks, {QUEUE}"


def clean_environment(**variables: str) -> dict[str, str]:
    """These variables, and what measures coverage in a child process."""
    measuring = {key: text for key, text in os.environ.items() if key.startswith("COVERAGE_")}
    return measuring | variables


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, in the project's root, with this environment alone."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Alembic as the deployer runs it: with DATABASE_URL and nothing else."""
    return run("-m", "alembic", *arguments, DATABASE_URL=url)


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the app, served over TCP by uvicorn in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the app didn't start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
            yield client
    finally:
        with unmeasured_ends():
            server.should_exit = True
            # With a connection left open, uvloop's loop never closes.
            thread.join(timeout=10)
        assert not thread.is_alive(), "the app didn't stop"


def thread_ids() -> set[int | None]:
    """The threads of this process that Python knows, by the kernel's ids."""
    return {thread.native_id for thread in threading.enumerate()}


@contextmanager
def unmeasured_ends() -> Iterator[None]:
    """Threads end here, and this thread isn't measured until the kernel has none of them.

    Coverage gives each thread greenlets. They are destroyed by the main thread between two of its
    instructions, and if that one is traced while another thread ends, Python 3.11 repeats the
    instruction for ever: two of three loops hung within 60 starts and stops of the app.
    """
    tracer = sys.gettrace()
    before = thread_ids()
    sys.settrace(None)
    try:
        yield
        ended = before - thread_ids()
        tasks = Path("/proc/self/task")
        eventually(
            lambda: [task for task in ended if (tasks / str(task)).exists()], lambda left: not left
        )
    finally:
        sys.settrace(tracer)


def settings(url: str, **others: Any) -> Settings:
    """Settings for the app on this database."""
    return Settings.model_validate({"database_url": url, "secret_key": SECRET_KEY, **others})


def register(client: httpx.Client, name: str = "ann") -> dict[str, Any]:
    """The tokens of a new user, whom the client is from now on."""
    answer = client.post("/accounts", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    tokens: dict[str, Any] = answer.json()
    client.headers["authorization"] = f"Bearer {tokens['access_token']}"
    return tokens


def shorten(client: httpx.Client, url: str = TARGET, **others: Any) -> dict[str, Any]:
    """A new link."""
    answer = client.post("/links", json={"url": url, **others})
    assert answer.status_code == 201, answer.text
    link: dict[str, Any] = answer.json()
    return link


def eventually(fetch: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 10) -> Any:
    """What `fetch` gives once it is as wanted; an error if it isn't in time."""
    end = time.monotonic() + seconds
    while not wanted(found := fetch()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL with the two roles, and a database `empty` as the deployer leaves it."""
    with postgresql.running() as cluster:
        cluster.create_roles()
        cluster.create_database("empty")
        yield cluster


@pytest.fixture(scope="session")
def copy(cluster: Cluster) -> Callable[[str], str]:
    """Make a copy of a database, and give its name."""
    numbers = count()

    def make(template: str) -> str:
        name = f"{template}{next(numbers)}"
        cluster.sql(f'CREATE DATABASE {name} TEMPLATE {template} OWNER "{OWNER}"')
        return name

    return make


@pytest.fixture
def empty(copy: Callable[[str], str]) -> str:
    """The name of a database without tables."""
    return copy("empty")


@pytest.fixture(scope="session")
def migrated(cluster: Cluster, copy: Callable[[str], str]) -> str:
    """The name of a database at Alembic's head, to be copied only."""
    name = copy("empty")
    result = alembic(cluster.url(OWNER, name), "upgrade", "head")
    assert result.returncode == 0, result.stderr
    return name


@pytest.fixture
def own_database(migrated: str, copy: Callable[[str], str]) -> str:
    """The name of a database at Alembic's head, for a test that changes more than rows."""
    return copy(migrated)


@pytest.fixture(scope="session")
def shared_database(migrated: str, copy: Callable[[str], str]) -> str:
    """The name of a database at Alembic's head, with whatever rows the last test left."""
    return copy(migrated)


@pytest.fixture
def database(cluster: Cluster, shared_database: str) -> str:
    """The name of a database at Alembic's head, without rows."""
    # Making one takes 0.2 s, emptying one 0.01 s.
    cluster.sql(f"TRUNCATE {TABLES}", role=OWNER, database=shared_database)
    return shared_database


@pytest.fixture(scope="session")
def address(cluster: Cluster, shared_database: str) -> Iterator[str]:
    """Where the app serves, on the database that tests share."""
    # To start and stop one takes 0.6 s.
    with serving(create_app(settings(cluster.url(APP, shared_database)))) as client:
        yield str(client.base_url)


@pytest.fixture
def client(address: str, database: str) -> Iterator[httpx.Client]:
    """A client of the app on `database`."""
    assert database
    with httpx.Client(base_url=address, timeout=15) as client:
        yield client


@pytest.fixture
def user(client: httpx.Client) -> httpx.Client:
    """The client, logged in."""
    register(client)
    return client


@pytest.fixture
def other(client: httpx.Client) -> Iterator[httpx.Client]:
    """A client of the same app, logged in as somebody else."""
    with httpx.Client(base_url=client.base_url, timeout=15) as other:
        register(other, "bob")
        yield other
