"""Whether the process runs, and whether it can serve."""

import asyncio
import logging
import time

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from links.models import Base

READY_WITHIN = 2  # seconds
FRESH = 1  # seconds: whoever asks 500 times a second costs one query

# The catalogue, and not the tables themselves: a migration that holds a lock on a table must not
# make the live release look broken. This view shows only columns that the role has a right to.
COLUMNS = text(
    "SELECT table_name || '.' || column_name FROM information_schema.columns"
    " WHERE table_schema = ANY (current_schemas(false))"
)

QUEUE = "pgqueuer.entrypoint"  # stands for all the queue's tables: one revision makes them

log = logging.getLogger(__name__)
router = APIRouter(prefix="/health")


class Live(BaseModel):
    """The process answers."""

    live: bool = True


class Ready(BaseModel):
    """Whether requests can be served, and if not, why."""

    ready: bool
    reasons: list[str]


@router.get("/live")
async def live() -> Live:
    """Answer without the database."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready}})
async def ready(request: Request, response: Response) -> Ready:
    """Answer 200 if the database has what this release needs, else 503, within 2 seconds."""
    state = request.app.state
    latest: Check | None = getattr(state, "readiness", None)
    if latest is None or latest.is_old():
        latest = state.readiness = Check(state.engine)
    reasons = await latest.reasons()
    if reasons:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Ready(ready=not reasons, reasons=reasons)


class Check:
    """One look at the database, which all who ask at the same time share."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._begun = time.monotonic()
        self._task = asyncio.create_task(_reasons(engine))

    def is_old(self) -> bool:
        """Return whether another one is due: this one is done, and "not ready" or not fresh."""
        if not self._task.done():
            return False
        failed = self._task.cancelled() or self._task.exception() or self._task.result()
        return bool(failed) or time.monotonic() - self._begun > FRESH

    async def reasons(self) -> list[str]:
        """Return why the app is not ready; a client that leaves takes nobody's answer along."""
        return await asyncio.shield(self._task)


async def _reasons(engine: AsyncEngine) -> list[str]:
    check = asyncio.create_task(_missing_columns(engine))
    # `wait_for` would also wait for the cancelled check to hang up, which takes another 2 s when
    # the database is frozen.
    done, _ = await asyncio.wait({check}, timeout=READY_WITHIN)
    if not done:
        check.cancel()
        return [f"database: no answer within {READY_WITHIN} s"]
    try:
        return [f"schema: no column {column}" for column in check.result()]
    except (SQLAlchemyError, OSError) as error:
        log.warning("not ready: %s", error)
        cause = error.orig if isinstance(error, DBAPIError) else error
        return [f"database: {cause}"]


async def _missing_columns(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        found = set(await connection.scalars(COLUMNS))
    needed = [str(column) for table in Base.metadata.sorted_tables for column in table.columns]
    return [column for column in [*needed, QUEUE] if column not in found]
