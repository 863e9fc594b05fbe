"""The app under Gunicorn, as the deployer runs it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx

from tests.cluster import APP, Cluster
from tests.conftest import ROOT, SECRET_KEY, clean_environment, register


@contextmanager
def gunicorn(
    workers: int = 1, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Gunicorn on a socket that was made for it, and a client of it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX) as listener,
        httpx.Client(
            transport=httpx.HTTPTransport(uds=f"{directory}/web.sock"),
            base_url="http://links.example.org",
            timeout=15,
        ) as client,
    ):
        listener.bind(f"{directory}/web.sock")
        listener.listen()
        with started(listener.fileno(), environment | {"WEB_CONCURRENCY": str(workers)}) as process:
            yield process, client


@contextmanager
def started(listener: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Gunicorn, dead afterwards with its workers."""
    options = [
        "--no-control-socket",
        "-k",
        "uvicorn_worker.UvicornWorker",
        "-b",
        f"fd://{listener}",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "links.main:app"],
        cwd=ROOT,
        env=clean_environment(**environment),
        pass_fds=[listener],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers outlive a master that is killed


def test_sigterm_lets_requests_finish(cluster: Cluster, database: str) -> None:
    url = cluster.url(APP, database)
    with (
        gunicorn(DATABASE_URL=url, SECRET_KEY=SECRET_KEY) as (process, client),
        ThreadPoolExecutor() as pool,
    ):
        register(client)
        with cluster.locked("links", database):
            answer = pool.submit(client.post, "/links", json={"url": "https://example.org/"})
            time.sleep(0.3)
            process.terminate()
            time.sleep(0.3)
        assert answer.result().status_code == 201
        assert process.wait(timeout=10) == 0


def test_gunicorn_stops_when_a_variable_is_missing() -> None:
    with gunicorn(SECRET_KEY=SECRET_KEY) as (process, _):
        _, messages = process.communicate(timeout=10)
    assert process.returncode == 3
    assert "\nDATABASE_URL: missing; " in messages
    assert "Traceback" not in messages
