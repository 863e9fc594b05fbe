"""The queue's worker: `python -m links.worker`, a process of its own.

Several may run, of several releases. On SIGTERM it takes no more jobs, finishes those it has, each
of which takes at most 10 s plus its queries, and exits with 0. When it loses the database it exits
with 1: start it again.
"""

import asyncio
import logging
import signal
import sys
from datetime import timedelta

import asyncpg  # type: ignore[import-untyped]
from pgqueuer import Job, PgQueuer
from pgqueuer.models import Schedule
from sqlalchemy.ext.asyncio import AsyncEngine

from links import checks, logs
from links.database import make_engine
from links.settings import WORKER_CONNECTIONS, Settings, read_settings

AT_ONCE = 10  # jobs
HEARTBEAT = timedelta(seconds=20)  # without one, a job is another worker's within twice as long

log = logging.getLogger(__name__)


def register(queue: PgQueuer, engine: AsyncEngine) -> None:
    """Tell the queue what to do for each job, and what to do by the clock."""

    @queue.entrypoint(checks.JOB)
    async def check(job: Job) -> None:
        await checks.check(engine, int(job.payload or b"0"))

    # By the clock, too, only one worker of all does it.
    @queue.schedule("clean", "17 3 * * *")
    async def clean(_: Schedule) -> None:
        await checks.clean(engine)


async def work(settings: Settings) -> None:
    """Do jobs until SIGTERM or SIGINT."""
    engine = make_engine(settings.database_url, WORKER_CONNECTIONS - 2)
    _, arguments = engine.dialect.create_connect_args(settings.database_url)
    # One connection listens, one asks.
    async with asyncpg.create_pool(min_size=2, max_size=2, command_timeout=10, **arguments) as pool:
        queue = PgQueuer.from_asyncpg_pool(pool)
        for stop in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop, queue.shutdown.set)
        register(queue, engine)
        # PgQueuer tries at once whether it hears, and on a busy machine it does not listen yet.
        await queue.connection.add_listener(queue.channel, lambda _: None)
        log.info("worker started")
        await queue.run(
            batch_size=AT_ONCE // 2,
            max_concurrent_tasks=AT_ONCE,
            heartbeat_timeout=HEARTBEAT,
            dequeue_timeout=HEARTBEAT,  # looks for the jobs of the dead as often
            # Without ears it would find jobs only every 30 s, and nobody would notice.
            shutdown_on_listener_failure=True,
        )
    await engine.dispose()
    log.info("worker stopped")


def main() -> int:
    """Run the worker and return its exit code."""
    settings = read_settings(Settings)
    logs.configure(development=settings.development)
    try:
        asyncio.run(work(settings))
    except Exception:
        log.exception("worker failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
