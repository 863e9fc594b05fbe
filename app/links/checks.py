"""The queue's job: whether a link's target can be had.

PgQueuer gives each job to one worker, of whatever release, and gives it to another if the first
has shown no life for `HEARTBEAT`. Checking twice does no harm.
"""

import logging
from datetime import timedelta

from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.errors import RetryRequested
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from links.fetch import FetchError, status_of
from links.models import Link

JOB = "check_link"
KEEP = "7 days"  # of the queue's log

CLEANING = (
    text("DELETE FROM sessions WHERE expires_at < now()"),
    text(f"DELETE FROM pgqueuer_log WHERE created < now() - interval '{KEEP}'"),  # noqa: S608
    text(f"DELETE FROM pgqueuer_statistics WHERE created < now() - interval '{KEEP}'"),  # noqa: S608
)

log = logging.getLogger(__name__)


async def order(session: AsyncSession, link: int) -> None:
    """Have a link checked once this transaction is committed, and not at all if it isn't."""
    raw = await (await session.connection()).get_raw_connection()
    await Queries(AsyncpgDriver(raw.driver_connection)).enqueue(JOB, str(link).encode())


async def check(engine: AsyncEngine, link: int) -> None:
    """Ask for a link's target and keep what came of it.

    Raises:
        RetryRequested: the database failed; the queue tries again.
    """
    try:
        async with engine.connect() as connection:
            url = await connection.scalar(select(Link.url).where(Link.id == link))
        if url is None:
            return  # deleted meanwhile
        fault = await _fault(url)  # with no connection held
        # If the URL was changed meanwhile, this isn't about it; its own job waits.
        row = update(Link).where(Link.id == link, Link.url == url)
        async with engine.begin() as connection:
            await connection.execute(row.values(checked_at=func.now(), fault=fault))
    except (SQLAlchemyError, OSError) as error:
        raise RetryRequested(delay=timedelta(seconds=30), reason=str(error)) from error


async def clean(engine: AsyncEngine) -> None:
    """Delete sessions that are over and what the queue remembers of a week ago."""
    async with engine.begin() as connection:
        for statement in CLEANING:
            await connection.execute(statement)


async def _fault(url: str) -> str | None:
    try:
        status = await status_of(url)
    except FetchError as error:
        return str(error)
    return f"status {status}" if status >= 400 else None
