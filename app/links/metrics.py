"""What Prometheus is told: latency, traffic, errors, and how full things are."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import APIRouter, Header, HTTPException, Response, status
from sqlalchemy.ext.asyncio import AsyncEngine

from links import multiprocess  # before prometheus_client, which it tells where to write

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram  # isort: skip

if TYPE_CHECKING:
    from sqlalchemy.pool import QueuePool

INTERVAL = 0.5  # seconds

REQUESTS = Histogram(
    "http_request_seconds",
    "Time from a request to the end of its answer.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
LAG = Histogram(
    "event_loop_lag_seconds",
    "How much later than asked for the event loop woke up.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
POOL_USED = Gauge(
    "pool_connections_used", "Database connections in use.", multiprocess_mode="livesum"
)
POOL_SIZE = Gauge(
    "pool_connections_limit", "Database connections allowed.", multiprocess_mode="livesum"
)
CLICKS_LOST = Counter("clicks_lost", "Clicks that could not be written when a worker stopped.")

# Any client may invent methods; each would be a time series of its own.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

router = APIRouter(include_in_schema=False)


def count_request(method: str, route: str | None, code: int, seconds: float) -> None:
    """Count a request that was answered; the code is 0 if it wasn't."""
    known = method if method in METHODS else "other"
    REQUESTS.labels(known, route or "none", code).observe(seconds)


async def watch(engine: AsyncEngine) -> None:
    """Measure, without end, how busy this worker is."""
    multiprocess.tidy()
    pool = cast("QueuePool", engine.pool)
    POOL_SIZE.set(pool.size())
    while True:
        start = time.perf_counter()
        await asyncio.sleep(INTERVAL)
        LAG.observe(max(0, time.perf_counter() - start - INTERVAL))
        POOL_USED.set(pool.checkedout())


@router.get("/metrics")
async def metrics(x_forwarded_for: Annotated[str | None, Header()] = None) -> Response:
    """Tell whoever asks over the server's own socket; through nginx there is no such page."""
    if x_forwarded_for is not None:  # nginx adds it to every request
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    return Response(multiprocess.exposition(), media_type=CONTENT_TYPE_LATEST)
