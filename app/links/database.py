"""The way to PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import asyncpg  # type: ignore[import-untyped]
from fastapi import Depends, Request
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine


def make_engine(url: URL, size: int) -> AsyncEngine:
    """A pool of at most `size` connections to `url`; none is opened before the first query."""
    return create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        # The one used last, so that connections which a burst has opened fall idle.
        pool_use_lifo=True,
        # Seconds to wait for a free connection: answer with an error before the proxy gives up.
        pool_timeout=5,
        # A restart of PostgreSQL leaves dead connections in the pool; ask before using one.
        pool_pre_ping=True,
        # Seconds after which a connection is replaced: one never sheds the memory of its caches.
        pool_recycle=1800,
        # Seconds to connect, and for any one query.
        connect_args={"timeout": 5, "command_timeout": 10},
        # An error's text goes to the log; passwords' hashes don't.
        hide_parameters=True,
    )


def make_reader(url: URL, size: int) -> Any:
    """A pool of asyncpg's own, for the one query that nearly every request makes.

    Without SQLAlchemy's, its ping and its transaction, a redirect takes half the CPU: 4071 a
    CPU-second instead of 1891. asyncpg sees by itself that a connection was closed, and opens
    another. It replaces one that was idle for five minutes.
    """
    _, arguments = create_async_engine(url).dialect.create_connect_args(url)
    return asyncpg.create_pool(
        min_size=0, max_size=size, timeout=5, command_timeout=10, reset=_nothing, **arguments
    )


async def _nothing(_: object) -> None:
    # A SELECT leaves nothing to tidy up, and asyncpg's own way is a query more for each.
    return


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    # A row is still needed after its commit, to answer with.
    async with AsyncSession(request.app.state.engine, expire_on_commit=False) as session:
        yield session


# Of the function's scope, so that a client slow to read its answer holds no connection.
Session = Annotated[AsyncSession, Depends(_session, scope="function")]
