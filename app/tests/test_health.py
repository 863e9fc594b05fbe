"""What the health routes say of a database in every state."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from links import health
from links.application import create_app
from tests.cluster import APP, OWNER, Cluster
from tests.conftest import register, serving, settings, shorten

OK = (200, {"ready": True, "reasons": []})


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH", 0)


def ready(client: httpx.Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/health/ready")
    return answer.status_code, answer.json()


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    """The server is down."""
    cluster.stop()
    try:
        yield
    finally:
        cluster.start()


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    processes = cluster.processes()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def test_ready(client: httpx.Client) -> None:
    assert ready(client) == OK


def test_a_flood_of_questions_is_one_query_a_second(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    columns = health._missing_columns

    async def counted(engine: AsyncEngine) -> list[str]:
        asked.append(engine)
        return await columns(engine)

    monkeypatch.setattr(health, "_missing_columns", counted)
    monkeypatch.setattr(health, "FRESH", 60)

    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=15) as flooding:
            return await asyncio.gather(*(flooding.get("/health/ready") for _ in range(40)))

    assert [(answer.status_code, answer.json()) for answer in asyncio.run(flood())] == [OK] * 40
    assert len(asked) <= 2, "the one before the test may be older"


def test_not_ready_without_tables(cluster: Cluster, empty: str) -> None:
    with serving(create_app(settings(cluster.url(APP, empty)))) as client:
        status, answer = ready(client)
    assert status == 503
    assert "schema: no column links.code" in answer["reasons"]
    assert "schema: no column pgqueuer.entrypoint" in answer["reasons"]


def test_not_ready_without_a_column(cluster: Cluster, own_database: str) -> None:
    cluster.sql("ALTER TABLE links RENAME url TO target", role=OWNER, database=own_database)
    with serving(create_app(settings(cluster.url(APP, own_database)))) as client:
        status, answer = ready(client)
    assert status == 503
    assert answer["reasons"] == ["schema: no column links.url"]


def test_not_ready_without_rights(cluster: Cluster, own_database: str) -> None:
    cluster.sql(f'REVOKE ALL ON links FROM "{APP}"', role=OWNER, database=own_database)
    with serving(create_app(settings(cluster.url(APP, own_database)))) as client:
        status, answer = ready(client)
    assert status == 503
    assert "schema: no column links.code" in answer["reasons"]


def test_ready_and_serving_on_the_schema_of_a_successor(
    cluster: Cluster, own_database: str
) -> None:
    with serving(create_app(settings(cluster.url(APP, own_database)))) as client:
        register(client)
        code = shorten(client)["code"]
        cluster.sql(
            "ALTER TABLE links ADD COLUMN colour text NOT NULL DEFAULT ''",
            "UPDATE alembic_version SET version_num = '9999'",
            role=OWNER,
            database=own_database,
        )
        assert ready(client) == OK
        assert client.get("/" + code).status_code == 307
        assert len(shorten(client)["code"]) == 7
        assert client.get("/links").status_code == 200


def test_ready_while_a_migration_holds_the_table(
    cluster: Cluster, database: str, client: httpx.Client
) -> None:
    with cluster.locked("links", database):
        assert ready(client) == OK


def test_not_ready_while_the_database_is_stopped(cluster: Cluster, client: httpx.Client) -> None:
    assert ready(client) == OK
    with stopped(cluster):
        assert client.get("/health/live").json() == {"live": True}
        status, answer = ready(client)
    assert status == 503
    assert answer["reasons"] == ["database: [Errno 2] No such file or directory"]


def test_not_ready_after_two_seconds_while_the_database_is_frozen(
    cluster: Cluster, client: httpx.Client
) -> None:
    assert ready(client) == OK
    with frozen(cluster):
        assert client.get("/health/live").json() == {"live": True}
        start = time.monotonic()
        status, answer = ready(client)
        took = time.monotonic() - start
    assert status == 503
    assert answer["reasons"] == ["database: no answer within 2 s"]
    assert took < 2.5


def test_not_ready_with_a_database_that_does_not_exist(cluster: Cluster) -> None:
    with serving(create_app(settings(cluster.url(APP, "nowhere")))) as client:
        status, answer = ready(client)
    assert status == 503
    assert answer["reasons"] == ['database: database "nowhere" does not exist']


def test_serving_again_once_the_database_is_back(cluster: Cluster, user: httpx.Client) -> None:
    code = shorten(user)["code"]
    assert user.get("/" + code).status_code == 307
    with stopped(cluster):
        assert user.get("/" + code).status_code == 500
    assert ready(user) == OK
    assert user.get("/" + code).status_code == 307
    shorten(user)
