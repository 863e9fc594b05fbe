"""How Alembic reaches the database: DATABASE_URL, of the role that owns the schema."""

import asyncio
from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from links.models import Base
from links.settings import DatabaseSettings, read_settings


def ours(name: str | None, kind: str, _: Any) -> bool:
    """Whether the models say what a table looks like: those of the queue are its library's."""
    return kind != "table" or not (name or "").startswith("pgqueuer")


def migrate(connection: Connection) -> None:
    """Run the command, all its revisions in one transaction: a failure leaves nothing behind."""
    context.configure(connection=connection, target_metadata=Base.metadata, include_name=ours)
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    """Run the command over a connection of its own."""
    engine = create_async_engine(read_settings(DatabaseSettings).database_url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.config.config_file_name:
    fileConfig(context.config.config_file_name)
asyncio.run(main())
