"""A server to develop with: it reloads, and has a PostgreSQL and some links of its own.

Log in as ann, whose password is "correct horse battery". Ctrl-C ends it; the next start is new.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from links import accounts
from links.database import make_engine
from links.settings import asyncpg_url
from tests import cluster as postgresql
from tests.cluster import APP, OWNER, Cluster

ROOT = Path(__file__).parent
PASSWORD = "correct horse battery"  # noqa: S105 it opens nothing

SEED = """
INSERT INTO links (code, url, user_id)
    SELECT code, url, users.id FROM users, (VALUES
        ('python', 'https://www.python.org/'),
        ('fastapi', 'https://fastapi.tiangolo.com/'),
        ('gone', 'https://example.org/gone')) AS links (code, url);
INSERT INTO clicks
    SELECT id, (now() AT TIME ZONE 'utc')::date - day, (30 - day) * (2 + (day * id) % 5)
    FROM links, generate_series(0, 29) AS day
"""


def environment(cluster: Cluster, role: str) -> dict[str, str]:
    """What the deployer would set."""
    return os.environ | {
        "DATABASE_URL": cluster.url(role, APP),
        "SECRET_KEY": "only for development, and no secret",
        "DEVELOPMENT": "true",
        "WEB_CONCURRENCY": "1",
    }


def start(cluster: Cluster, role: str, *command: str) -> subprocess.Popen[bytes]:
    """A program of the app's, as the role."""
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment(cluster, role)
    )


async def register(cluster: Cluster) -> None:
    """Make the user."""
    engine = make_engine(asyncpg_url(cluster.url(APP, APP)), 1)
    async with AsyncSession(engine) as session:
        await accounts.register(session, "ann", PASSWORD)
        await session.commit()
    await engine.dispose()


@contextmanager
def prepared() -> Iterator[Cluster]:
    """A PostgreSQL with a database at Alembic's head."""
    with postgresql.running() as cluster:
        cluster.create_roles()
        cluster.create_database(APP)
        start(cluster, OWNER, "alembic", "upgrade", "head").wait()
        yield cluster


def main() -> None:
    """Serve until Ctrl-C, which reaches all processes."""
    with prepared() as cluster, suppress(KeyboardInterrupt):
        asyncio.run(register(cluster))
        cluster.sql(SEED, role=APP, database=APP)
        print(f"http://localhost:8000/login: ann, {PASSWORD}")
        worker = start(cluster, APP, "links.worker")
        start(cluster, APP, "uvicorn", "--reload", "--reload-dir=links", "links.main:app").wait()
        worker.wait()


if __name__ == "__main__":
    main()
