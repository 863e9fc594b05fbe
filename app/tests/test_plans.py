"""Every query that a request waits for finds its rows by an index, over filled tables."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from links import accounts, checks, sessions, store
from links.clicks import Clicks
from links.database import make_engine
from links.follow import LIVE
from links.settings import asyncpg_url
from tests.cluster import APP, OWNER, Cluster
from tests.conftest import PASSWORD

# Enough for the planner to prefer an index, of the shape of a real site: some users have many
# links, most links have no expiry, and few were clicked today.
FILL = """
INSERT INTO users (name, password_hash) SELECT 'user' || n, 'x' FROM generate_series(1, 2000) n;
INSERT INTO links (code, url, user_id, checked_at)
    SELECT lpad(to_hex(n), 7, 'g'), 'https://example.org/' || n,
        (SELECT min(id) FROM users) + n % 2000, now() - interval '1 minute' * (n % 2000)
    FROM generate_series(1, 50000) n;
INSERT INTO clicks SELECT id, current_date - d, 1 FROM links, generate_series(0, 3) d
    WHERE id % 3 = 0;
INSERT INTO sessions SELECT gen_random_uuid(), id, 'x', now() + interval '1 second' * id
    FROM users, generate_series(1, 5);
ANALYZE
"""

PLANNED = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE)", re.IGNORECASE)


@pytest.fixture(scope="module")
def filled(cluster: Cluster, migrated: str, copy: Any) -> str:
    """The name of a database with 50,000 links."""
    name: str = copy(migrated)
    cluster.sql(FILL, role=OWNER, database=name)
    return name


async def everything(engine: AsyncEngine) -> None:
    """Ask the database whatever the app asks it."""
    async with AsyncSession(engine, expire_on_commit=False) as session:
        user = await accounts.register(session, "newcomer", PASSWORD)
        assert user
        await session.commit()
        await accounts.log_in(session, "newcomer", PASSWORD)
        token = await sessions.open_session(session, user)
        await sessions.user_of(session, token)
        await sessions.rotate(session, token)
        await sessions.close(session, token)
        link = await store.create(session, user, "https://example.org/", "own-code")
        await store.find(session, user, link.code)
        await store.change(session, user, link.code, {"url": "https://example.net/"})
        await store.page(session, user, 20, None)
        await store.page(session, user, 20, link.id)
        await store.clicks_by_day(session, link.id, 30)
        counted = Clicks(engine)
        counted.count(link.id)
        await counted._flush()
        await store.remove(session, user, link.code)
    await checks.clean(engine)


@pytest.fixture(scope="module")
def asked(cluster: Cluster, filled: str) -> list[tuple[str, Any]]:
    """Every statement of `everything`, with its parameters."""
    seen: list[tuple[str, Any]] = []

    async def ask() -> None:
        engine = make_engine(asyncpg_url(cluster.url(APP, filled)), 3)

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def keep(*given: Any) -> None:
            seen.append((given[2], given[3]))

        try:
            await everything(engine)
        finally:
            await engine.dispose()

    asyncio.run(ask())
    return seen


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", []):
        yield from scans(part)


def plan_of(cluster: Cluster, database: str, statement: str, parameters: Any) -> dict[str, Any]:
    """How PostgreSQL would run a statement with these parameters."""

    async def explain() -> Any:
        engine = make_engine(asyncpg_url(cluster.url(APP, database)), 1)
        try:
            async with engine.connect() as connection:
                explained = f"EXPLAIN (FORMAT JSON) {statement}"
                return (await connection.exec_driver_sql(explained, parameters)).scalar_one()
        finally:
            await engine.dispose()

    plan = asyncio.run(explain())
    parsed: dict[str, Any] = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return parsed


def test_no_query_reads_a_table_from_end_to_end(
    cluster: Cluster, filled: str, asked: list[tuple[str, Any]]
) -> None:
    statements = {
        statement: parameters
        for statement, parameters in asked
        if PLANNED.match(statement) and "pgqueuer" not in statement
    }
    assert len(statements) >= 14
    statements[LIVE] = ("gggg123",)
    read = {
        statement: tables
        for statement, parameters in statements.items()
        if (tables := list(scans(plan_of(cluster, filled, statement, parameters))))
    }
    assert read == {}


def test_a_page_is_read_in_its_order(
    cluster: Cluster, filled: str, asked: list[tuple[str, Any]]
) -> None:
    (page,) = (
        given
        for given in asked
        if "ORDER BY links.id DESC" in given[0] and "links.id <" in given[0]
    )
    plan = json.dumps(plan_of(cluster, filled, *page))
    assert "ix_links_user_id_id" in plan
    assert '"Sort"' not in plan


def test_every_foreign_key_has_an_index(cluster: Cluster, filled: str) -> None:
    # Without one, deleting a user or a link reads the other table from end to end.
    missing = cluster.ask(
        "SELECT conrelid::regclass || '.' || attname FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
        " WHERE contype = 'f' AND NOT EXISTS (SELECT FROM pg_index"
        " WHERE indrelid = conrelid AND indkey[0] = conkey[1])",
        filled,
    )
    assert missing == ""
