"""Clicks, counted in memory and written in batches, so that no redirect waits for a write.

Bound: a worker that is stopped writes what it holds; one that is killed loses what it counted since
the last batch, so at most the last `INTERVAL` seconds and those of the batch under way.
"""

import asyncio
import logging
from collections import Counter
from datetime import UTC, date, datetime

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from links.metrics import CLICKS_LOST

INTERVAL = 1.0  # seconds between batches
LAST_TRIES = 5  # at the end, INTERVAL apart; Gunicorn waits 30 s

# In the order of the key, so that two workers never wait for each other. A link that was deleted
# meanwhile drops out in the join.
WRITE = text(
    "INSERT INTO clicks (link_id, day, clicks)"
    " SELECT link, day, n"
    " FROM unnest(CAST(:links AS bigint[]), CAST(:days AS date[]), CAST(:counts AS bigint[]))"
    " AS batch (link, day, n)"
    " JOIN links ON links.id = link ORDER BY link, day"
    " ON CONFLICT (link_id, day) DO UPDATE SET clicks = clicks.clicks + excluded.clicks"
)

log = logging.getLogger(__name__)


class Clicks:
    """The clicks that this worker has counted and not written yet."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: Counter[tuple[int, date]] = Counter()
        self._stop = asyncio.Event()

    def count(self, link: int) -> None:
        """Count a click of now."""
        self._waiting[link, datetime.now(UTC).date()] += 1

    async def run(self) -> None:
        """Write a batch each second, until `stop` is called; then the rest."""
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._stop.wait()
            except TimeoutError:
                await self._flush()
        await self._last_flush()

    def stop(self) -> None:
        """Let `run` end."""
        self._stop.set()

    async def _flush(self) -> None:
        batch, self._waiting = self._waiting, Counter()
        if not batch:
            return
        try:
            await self._write(batch)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._waiting.update(batch)
            log.warning("clicks are kept for the next batch: %s", error)

    async def _last_flush(self) -> None:
        for _ in range(LAST_TRIES):
            await self._flush()
            if not self._waiting:
                return
            await asyncio.sleep(INTERVAL)
        CLICKS_LOST.inc(self._waiting.total())
        log.error("%d clicks are lost", self._waiting.total())

    async def _write(self, batch: Counter[tuple[int, date]]) -> None:
        columns = {
            "links": [link for link, _ in batch],
            "days": [day for _, day in batch],
            "counts": list(batch.values()),
        }
        async with self._engine.begin() as connection:
            await connection.execute(WRITE, columns)
