"""Sessions in the database: what refresh tokens and the page's cookie stand for."""

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from links.models import LoginSession

LIFE = timedelta(days=14)  # from the last rotation


async def open_session(session: AsyncSession, user: int) -> str:
    """A new session's token, not committed yet."""
    secret = secrets.token_urlsafe(32)
    row = LoginSession(id=uuid4(), user_id=user, secret_hash=_hash(secret), expires_at=_end())
    session.add(row)
    await session.flush()
    return f"{row.id}.{secret}"


async def rotate(session: AsyncSession, token: str) -> tuple[int, str] | None:
    """The session's user and its next token; the one given is worth nothing from now on.

    A token that was rotated before ends the session: either its owner or a thief has used it
    twice, and nobody can tell who. https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2
    """
    key, secret = _parts(token)
    following = secrets.token_urlsafe(32)
    # One statement, so that of two requests with the same token only one gets the next.
    user = await session.scalar(
        update(LoginSession)
        .where(LoginSession.id == key, LoginSession.secret_hash == _hash(secret), _alive())
        .values(secret_hash=_hash(following), expires_at=_end())
        .returning(LoginSession.user_id)
    )
    if user is None:
        await close(session, token)
        return None
    await session.commit()
    return user, f"{key}.{following}"


async def user_of(session: AsyncSession, token: str) -> int | None:
    """The user of a living session, from its newest token."""
    key, secret = _parts(token)
    found = select(LoginSession.user_id).where(
        LoginSession.id == key, LoginSession.secret_hash == _hash(secret), _alive()
    )
    return await session.scalar(found)


async def close(session: AsyncSession, token: str) -> None:
    """End a session by any of its tokens; there may be none."""
    await session.execute(delete(LoginSession).where(LoginSession.id == _parts(token)[0]))
    await session.commit()


def _alive() -> ColumnElement[bool]:
    return LoginSession.expires_at > func.now()


def _end() -> datetime:
    return datetime.now(UTC) + LIFE


def _parts(token: str) -> tuple[UUID | None, str]:
    key, _, secret = token.partition(".")
    try:
        return UUID(key), secret
    except ValueError:
        return None, secret


def _hash(secret: str) -> bytes:
    # Not argon2: there is nothing to guess in 256 random bits.
    return sha256(secret.encode(errors="replace")).digest()
