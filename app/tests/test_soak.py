"""Half an hour under load, with a worker killed each minute, and one that lives through it."""

import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from links.clicks import INTERVAL
from tests.cluster import APP, Cluster
from tests.conftest import SECRET_KEY, register, shorten
from tests.test_clicks import children, total
from tests.test_server import gunicorn

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
KILL_EVERY = 60 * MINUTES / 30  # seconds
CLICKS = 5  # for each link made
THREADS = 4  # so that a kill finds requests under way
FLUSH = 0.2  # seconds that a batch under way may take
RESULT = os.environ.get("SOAK_RESULT")  # a file for the figures


def memory(process: int) -> int:
    """KiB, shared pages by share."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(re.findall(r"Pss:\s+(\d+)", text)[0])


class Load:
    """What was acknowledged, and when."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        # As behind nginx: a connection for each request, so that they reach every worker.
        client.headers["connection"] = "close"
        self.codes: list[str] = []
        self.clicked: list[float] = []
        self.cut: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Go on until it is over."""
        while not self.over.is_set():
            self.step()

    def step(self) -> None:
        """Make a link and follow it; the kill of a worker may cut a request off."""
        try:
            code = shorten(self.client)["code"]
            self.codes.append(code)
            for _ in range(CLICKS):
                moment = time.monotonic()
                assert self.client.get("/" + code).status_code == 307
                self.clicked.append(moment)
        except httpx.TransportError:
            self.cut.append(time.monotonic())


@pytest.mark.soak
def test_no_link_is_lost_and_few_clicks(cluster: Cluster, database: str) -> None:
    environment = {
        "DATABASE_URL": cluster.url(APP, database),
        "SECRET_KEY": SECRET_KEY,
        "ACCESS_TOKEN_SECONDS": "86400",
    }
    kills: list[float] = []
    samples: list[tuple[float, int, int]] = []  # seconds, KiB of the oldest worker and the master
    with gunicorn(2, **environment) as (process, client), ThreadPoolExecutor() as pool:
        register(client)
        load = Load(client)
        oldest, _ = children(process.pid)
        threads = [pool.submit(load.run) for _ in range(THREADS)]
        start = time.monotonic()
        try:
            while (now := time.monotonic() - start) < 60 * MINUTES:
                time.sleep(0.1)
                if now > len(samples) * KILL_EVERY / 6:
                    samples.append((round(now, 1), memory(oldest), memory(process.pid)))
                if now > (len(kills) + 1) * KILL_EVERY:
                    kills.append(time.monotonic())
                    os.kill(children(process.pid)[-1], signal.SIGKILL)  # the youngest
        finally:
            load.over.set()
        for thread in threads:
            thread.result()
        assert children(process.pid)[0] == oldest
        process.terminate()
        process.communicate(timeout=30)
    kept = set(cluster.ask("SELECT code FROM links", database).split())
    lost = len(load.clicked) - total(cluster, database)
    at_risk = sum(
        any(kill - INTERVAL - FLUSH < moment <= kill for kill in kills) for moment in load.clicked
    )
    told = {
        "minutes": MINUTES,
        "links": len(load.codes),
        "links_lost": len(set(load.codes) - kept),
        "clicks": len(load.clicked),
        "clicks_lost": lost,
        "clicks_at_risk": at_risk,
        "kills": len(kills),
        "requests_cut": len(load.cut),
        "memory": samples,
    }
    print(json.dumps(told))
    if RESULT:
        Path(RESULT).write_text(json.dumps(told))
    assert told["links_lost"] == 0
    # A request that was cut off may have been counted.
    assert -len(load.cut) <= lost <= at_risk
    # The caches of asyncpg and SQLAlchemy fill in the first third.
    assert samples[-1][1] < 1.1 * samples[len(samples) // 3][1]
