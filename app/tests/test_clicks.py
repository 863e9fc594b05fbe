"""Clicks: none is lost by a stop, one interval's at most by a kill, and no redirect waits."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from links import clicks
from links.clicks import INTERVAL, Clicks
from links.database import make_engine
from links.metrics import CLICKS_LOST
from links.settings import asyncpg_url
from tests.cluster import APP, OWNER, Cluster
from tests.conftest import SECRET_KEY, eventually, register, shorten
from tests.test_server import gunicorn

TOTAL = "SELECT coalesce(sum(clicks), 0) FROM clicks"


def total(cluster: Cluster, database: str) -> int:
    return int(cluster.ask(TOTAL, database))


def click(client: httpx.Client, code: str, times: int = 1) -> None:
    for _ in range(times):
        assert client.get("/" + code).status_code == 307


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def test_clicks_are_written_within_an_interval(
    user: httpx.Client, cluster: Cluster, database: str
) -> None:
    code = shorten(user)["code"]
    click(user, code, 3)
    eventually(lambda: total(cluster, database), lambda n: n == 3, seconds=INTERVAL + 1)
    click(user, code, 2)
    eventually(lambda: total(cluster, database), lambda n: n == 5, seconds=INTERVAL + 1)
    assert user.get(f"/links/{code}/clicks?days=1").json()[0]["clicks"] == 5


def test_a_stop_loses_none(cluster: Cluster, database: str) -> None:
    url = cluster.url(APP, database)
    with gunicorn(DATABASE_URL=url, SECRET_KEY=SECRET_KEY) as (process, client):
        register(client)
        click(client, shorten(client)["code"], 200)
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert total(cluster, database) == 200


def test_a_kill_loses_at_most_an_interval(cluster: Cluster, database: str) -> None:
    url = cluster.url(APP, database)
    with gunicorn(DATABASE_URL=url, SECRET_KEY=SECRET_KEY) as (process, client):
        register(client)
        code = shorten(client)["code"]
        clicked = []
        end = time.monotonic() + 2.5 * INTERVAL
        while (now := time.monotonic()) < end:
            click(client, code)
            clicked.append(now)
        killed = time.monotonic()
        os.kill(children(process.pid)[0], signal.SIGKILL)
        # With 0.1 s for a batch under way.
        safe = sum(moment < killed - INTERVAL - 0.1 for moment in clicked)
        assert safe <= total(cluster, database) < len(clicked)


def test_no_redirect_waits_for_a_batch(user: httpx.Client, cluster: Cluster, database: str) -> None:
    code = shorten(user)["code"]
    with cluster.locked("clicks", database):
        click(user, code)
        time.sleep(INTERVAL + 0.2)  # the batch waits for the lock now
        start = time.monotonic()
        click(user, code, 20)
        assert time.monotonic() - start < 1
    eventually(lambda: total(cluster, database), lambda n: n == 21)


def test_a_deleted_link_takes_no_others_clicks_with_it(
    user: httpx.Client, cluster: Cluster, database: str
) -> None:
    gone, kept = shorten(user)["code"], shorten(user)["code"]
    click(user, gone)
    click(user, kept)
    user.delete(f"/links/{gone}")
    eventually(lambda: total(cluster, database), lambda n: n == 1)


def test_two_workers_add_up_without_waiting_for_each_other_forever(
    cluster: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    # So many that each is looked up by itself, in the order of the batch.
    cluster.sql(
        "INSERT INTO links (code, url) SELECT n, 'https://a/' FROM generate_series(1, 20000) AS n",
        database=database,
    )
    cluster.sql("ANALYZE links", role=OWNER, database=database)
    ids = list(map(int, cluster.ask("SELECT id FROM links LIMIT 200", database).split()))

    async def count(order: list[int]) -> None:
        engine = make_engine(asyncpg_url(cluster.url(APP, database)), 1)
        counted = Clicks(engine)
        for _ in range(20):
            for link in order:
                counted.count(link)
            await counted._flush()
        assert not counted._waiting
        await engine.dispose()

    async def both() -> None:
        await asyncio.gather(count(ids), count(ids[::-1]))

    asyncio.run(both())
    assert "deadlock" not in caplog.text
    assert total(cluster, database) == 2 * 20 * 200


class Unreliable(Clicks):
    """Writes to a counter, or fails, as told."""

    def __init__(self, outcomes: Iterator[bool]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.outcomes = outcomes
        self.written: Counter[tuple[int, date]] = Counter()

    async def _write(self, batch: Counter[tuple[int, date]]) -> None:
        if not next(self.outcomes, True):
            raise OSError
        self.written.update(batch)


@given(
    st.lists(st.one_of(st.integers(1, 5), st.just("flush"))), st.lists(st.booleans(), max_size=4)
)
def test_every_click_is_written_once_whatever_fails(
    steps: list[int | str], outcomes: list[bool]
) -> None:
    counted = Unreliable(iter(outcomes))

    async def play() -> None:
        for step in steps:
            if isinstance(step, int):
                counted.count(step)
            else:
                await counted._flush()
        counted.stop()
        await counted.run()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clicks, "INTERVAL", 0)
        asyncio.run(play())
    assert counted.written.total() == sum(isinstance(step, int) for step in steps)


def test_clicks_that_can_never_be_written_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clicks, "INTERVAL", 0)
    counted = Unreliable(iter([False] * 99))
    before = CLICKS_LOST._value.get()
    counted.count(1)
    counted.stop()
    asyncio.run(counted.run())
    assert "1 clicks are lost" in caplog.text
    assert CLICKS_LOST._value.get() == before + 1
