"""Connections: enough for every worker of two releases, and no secret in their errors."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from links.database import make_engine
from links.settings import FREE_CONNECTIONS, WORKER_CONNECTIONS, asyncpg_url
from tests.cluster import APP, Cluster
from tests.conftest import settings


@given(st.integers(1, 64), st.integers(0, 1000))
def test_two_releases_fit_into_postgresql_or_the_app_does_not_start(
    workers: int, connections: int
) -> None:
    try:
        chosen = settings(
            "postgresql://u@h/d", web_concurrency=workers, database_connections=connections
        )
    except ValidationError:
        # At most what a pool of three would need was there.
        assert connections < FREE_CONNECTIONS + 2 * (3 * workers + WORKER_CONNECTIONS)
        return
    assert chosen.readers >= 1
    assert chosen.pool_size >= 1
    release = workers * (chosen.readers + chosen.pool_size) + WORKER_CONNECTIONS
    assert 2 * release + FREE_CONNECTIONS <= connections


def test_the_deployers_defaults_use_what_there_is() -> None:
    chosen = settings("postgresql://u@h/d", web_concurrency=5)
    assert (chosen.readers, chosen.pool_size) == (3, 5)


def test_no_parameter_shows_in_an_error(cluster: Cluster, database: str) -> None:
    async def fail() -> None:
        engine = make_engine(asyncpg_url(cluster.url(APP, database)), 1)
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1 / length(:a)"), {"a": "hunter2"})
                await connection.execute(text("SELECT 1 / (length(:a) - 7)"), {"a": "hunter2"})
        finally:
            await engine.dispose()

    with pytest.raises(DBAPIError) as caught:
        asyncio.run(fail())
    assert "hunter2" not in str(caught.value)
