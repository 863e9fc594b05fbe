"""The queue's worker, as processes of their own: each job is done once, whoever stops or dies."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pgqueuer.errors import RetryRequested

from links import checks
from links.database import make_engine
from links.fetch import FetchError
from links.settings import asyncpg_url
from tests.cluster import APP, Cluster
from tests.conftest import ROOT, SECRET_KEY, clean_environment, eventually, shorten
from tests.test_health import stopped

QUEUED = "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'check_link'"
DONE = "SELECT count(*) FROM pgqueuer_log WHERE entrypoint = 'check_link' AND status = 'successful'"

# The worker with a check that needs no internet: it takes as long as the path says, in
# milliseconds, and tells when it begins.
SLOW = """
import asyncio, sys
from datetime import timedelta
from urllib.parse import urlsplit
from links import checks, worker

async def status_of(url):
    print("began", url, flush=True)
    await asyncio.sleep(int(urlsplit(url).path.strip("/")) / 1000)
    print("ended", url, flush=True)
    return 200

checks.status_of = status_of
worker.HEARTBEAT = timedelta(seconds=2)
sys.exit(worker.main())
"""

# The worker on a machine so busy that listening takes a second to begin, and that looks
# every second whether it is heard.
BUSY = """
import asyncio, sys
from datetime import timedelta
from asyncpg import Connection
from links import worker
from pgqueuer.core.qm import QueueManager

listen = Connection.add_listener

async def listen_late(connection, channel, callback):
    if channel not in connection._listeners:
        await asyncio.sleep(1)
    await listen(connection, channel, callback)

Connection.add_listener = listen_late
QueueManager._run_periodic_health_check.__defaults__ = (timedelta(seconds=1),)
worker.HEARTBEAT = timedelta(seconds=1)
sys.exit(worker.main())
"""


@contextmanager
def worker(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has started, dead afterwards."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean_environment(DATABASE_URL=url, SECRET_KEY=SECRET_KEY),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert "worker started" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def count(cluster: Cluster, query: str, database: str) -> Callable[[], int]:
    return lambda: int(cluster.ask(query, database))


def test_a_link_is_checked(user: httpx.Client, cluster: Cluster, database: str) -> None:
    code = shorten(user, "http://127.0.0.1/")["code"]
    with worker(cluster.url(APP, database), "-m", "links.worker") as process:
        link = eventually(
            lambda: user.get(f"/links/{code}").json(), lambda link: link["checked_at"]
        )
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert link["fault"] == "not on the internet"


def test_a_busy_machine_does_not_end_the_worker(cluster: Cluster, database: str) -> None:
    with worker(cluster.url(APP, database), "-c", BUSY) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.terminate()
        assert process.wait(timeout=5) == 0


def test_a_link_that_was_not_made_is_not_checked(
    user: httpx.Client, cluster: Cluster, database: str
) -> None:
    shorten(user, code="taken")
    assert user.post("/links", json={"url": "http://a/", "code": "taken"}).status_code == 409
    assert cluster.ask(QUEUED, database) == "1"


def test_sigterm_lets_jobs_finish_and_takes_no_more(
    user: httpx.Client, cluster: Cluster, database: str
) -> None:
    shorten(user, "http://a.example/1500")
    with worker(cluster.url(APP, database), "-c", SLOW) as process:
        assert process.stdout
        assert "began" in process.stdout.readline()
        process.terminate()
        time.sleep(0.3)
        shorten(user, "http://a.example/1")
        assert process.wait(timeout=5) == 0
        assert "/1500" in process.stdout.readline()
    assert cluster.ask("SELECT count(checked_at) FROM links", database) == "1"
    assert cluster.ask(QUEUED, database) == "1"


def test_two_workers_do_each_job_once_though_one_is_stopped(
    user: httpx.Client, cluster: Cluster, database: str
) -> None:
    url = cluster.url(APP, database)
    for _ in range(100):
        shorten(user, "http://a.example/50")
    with worker(url, "-c", SLOW) as old, worker(url, "-c", SLOW) as new:
        eventually(count(cluster, DONE, database), lambda done: done > 20)
        old.terminate()
        assert old.wait(timeout=5) == 0
        eventually(count(cluster, QUEUED, database), lambda left: left == 0)
        new.terminate()
        printed = old.communicate()[0] + new.communicate()[0]
    assert printed.count("ended") == printed.count("began") == 100
    assert cluster.ask(DONE, database) == "100"
    assert cluster.ask("SELECT count(checked_at) FROM links", database) == "100"


def test_a_killed_workers_job_is_done_by_another(
    user: httpx.Client, cluster: Cluster, database: str
) -> None:
    url = cluster.url(APP, database)
    shorten(user, "http://a.example/1000")
    with worker(url, "-c", SLOW) as killed:
        assert killed.stdout
        assert "began" in killed.stdout.readline()
        killed.kill()
    assert cluster.ask(QUEUED, database) == "1"
    with worker(url, "-c", SLOW):
        eventually(count(cluster, DONE, database), lambda done: done == 1)


@pytest.mark.soak
def test_a_worker_that_loses_the_database_exits_to_be_started_again(
    cluster: Cluster, database: str
) -> None:
    with worker(cluster.url(APP, database), "-m", "links.worker") as process:
        with stopped(cluster):
            pass
        assert process.wait(timeout=60) == 1


def engine_of(cluster: Cluster, database: str) -> Any:
    return make_engine(asyncpg_url(cluster.url(APP, database)), 2)


def run(cluster: Cluster, database: str, act: Callable[[Any], Any]) -> Any:
    async def connected() -> Any:
        engine = engine_of(cluster, database)
        try:
            return await act(engine)
        finally:
            await engine.dispose()

    return asyncio.run(connected())


@pytest.mark.parametrize(
    ("outcome", "fault"), [(200, ""), (404, "status 404"), (FetchError("no answer"), "no answer")]
)
def test_what_a_check_finds_is_kept(
    user: httpx.Client,
    cluster: Cluster,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    outcome: int | Exception,
    fault: str,
) -> None:
    async def status_of(_: str) -> int:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(checks, "status_of", status_of)
    shorten(user)
    link = int(cluster.ask("SELECT id FROM links", database))
    run(cluster, database, lambda engine: checks.check(engine, link))
    assert cluster.ask("SELECT fault FROM links WHERE checked_at <= now()", database) == fault


def test_a_check_of_a_url_that_was_changed_meanwhile_is_not_kept(
    user: httpx.Client, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = shorten(user)["code"]

    async def status_of(_: str) -> int:
        user.patch(f"/links/{code}", json={"url": "https://example.net/"})
        return 404

    monkeypatch.setattr(checks, "status_of", status_of)
    link = int(cluster.ask("SELECT id FROM links", database))
    run(cluster, database, lambda engine: checks.check(engine, link))
    assert user.get(f"/links/{code}").json()["fault"] is None
    assert cluster.ask(QUEUED, database) == "2"  # the second is of the edit


def test_a_check_of_a_deleted_link_is_done(cluster: Cluster, database: str) -> None:
    run(cluster, database, lambda engine: checks.check(engine, 1))


def test_a_check_without_the_database_is_tried_again(cluster: Cluster) -> None:
    with pytest.raises(RetryRequested):
        run(cluster, "nowhere", lambda engine: checks.check(engine, 1))


def test_what_is_over_is_deleted(user: httpx.Client, cluster: Cluster, database: str) -> None:
    shorten(user)
    cluster.sql(
        "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint)"
        " VALUES (1, 'successful', 0, 'a')",
        "INSERT INTO pgqueuer_statistics (count, status, priority, entrypoint)"
        " VALUES (1, 'successful', 0, 'a')",
        "UPDATE pgqueuer_log SET created = now() - interval '8 days' WHERE job_id = 1",
        "UPDATE pgqueuer_statistics SET created = now() - interval '8 days'",
        "UPDATE sessions SET expires_at = now()",
        database=database,
    )
    run(cluster, database, checks.clean)
    assert cluster.ask("SELECT count(*) FROM sessions", database) == "0"
    assert cluster.ask("SELECT count(*) FROM pgqueuer_statistics", database) == "0"
    assert cluster.ask("SELECT entrypoint FROM pgqueuer_log", database) == "check_link"


def test_a_bad_environment_stops_the_worker() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "links.worker"],
        cwd=ROOT,
        env=clean_environment(SECRET_KEY=SECRET_KEY),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        messages = process.communicate(timeout=10)[1]
    assert process.returncode == 3
    assert messages.startswith("DATABASE_URL: missing; ")
    assert len(messages.splitlines()) == 1
