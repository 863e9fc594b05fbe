"""The way to PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Annotated

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


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    # A row is still needed after its commit, to answer with.
    async with AsyncSession(request.app.state.engine, expire_on_commit=False) as session:
        yield session


# Of the function's scope, so that a client slow to read its answer holds no connection.
Session = Annotated[AsyncSession, Depends(_session, scope="function")]
