"""Users in the database."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from links import passwords
from links.models import User


async def register(session: AsyncSession, name: str, password: str) -> int | None:
    """A new user's id, not committed yet; None if the name is taken."""
    # Hashed before the question whether the name is free, and with no connection held.
    hashed = await passwords.hash_password(password)
    row = insert(User).values(name=name, password_hash=hashed).on_conflict_do_nothing()
    return await session.scalar(row.returning(User.id))


async def log_in(session: AsyncSession, name: str, password: str) -> int | None:
    """The user of this name and password, if there is one; the work is the same if not."""
    found = await session.execute(select(User.id, User.password_hash).where(User.name == name))
    user = found.one_or_none()
    await session.commit()  # gives the connection back for the time of the hashing
    right = await passwords.fits(password, user.password_hash if user else None)
    return user.id if user and right else None
