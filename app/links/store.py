"""Links in the database."""

import secrets
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from links import checks
from links.models import DayClicks, Link

CODE_LENGTH = 7
ALPHABET = string.ascii_letters + string.digits

# Of 62**7 codes, a million are in use: one try in 3.5 million collides, so five in a row mean
# that something else is wrong.
TRIES = 5


class CodeTakenError(Exception):
    """The code is another link's."""


def new_code() -> str:
    """A random code, which may be in use."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


async def create(
    session: AsyncSession,
    user: int,
    url: str,
    code: str | None = None,
    expires_at: datetime | None = None,
) -> Link:
    """A new link of the user's to `url`, committed together with the job that checks it.

    Raises:
        CodeTakenError: `code` is in use.
        RuntimeError: no free code was found.
    """
    for _ in range(1 if code else TRIES):
        row = insert(Link).values(
            user_id=user, url=url, code=code or new_code(), expires_at=expires_at
        )
        link: Link | None = await session.scalar(row.on_conflict_do_nothing().returning(Link))
        if link:
            await checks.order(session, link.id)
            await session.commit()
            return link
    if code:
        raise CodeTakenError
    raise RuntimeError(f"no free code in {TRIES} tries")


async def find(session: AsyncSession, user: int, code: str) -> Link | None:
    """The link of this code, if it is the user's."""
    return await session.scalar(select(Link).where(Link.code == code, Link.user_id == user))


async def change(
    session: AsyncSession, user: int, code: str, values: Mapping[str, Any]
) -> Link | None:
    """The changed link, committed; None if it isn't the user's."""
    if "url" in values:
        values = {**values, "checked_at": None, "fault": None}
    if not values:
        return await find(session, user, code)
    mine = update(Link).where(Link.code == code, Link.user_id == user)
    link = await session.scalar(mine.values(**values).returning(Link))
    if link and "url" in values:
        await checks.order(session, link.id)
    await session.commit()
    return link


async def remove(session: AsyncSession, user: int, code: str) -> bool:
    """Delete a link with its clicks; False if it isn't the user's."""
    mine = delete(Link).where(Link.code == code, Link.user_id == user)
    gone = await session.scalar(mine.returning(Link.id))
    await session.commit()
    return gone is not None


async def page(
    session: AsyncSession, user: int, limit: int, after: int | None
) -> tuple[Sequence[Link], int | None]:
    """Up to `limit` links of the user's, newest first, and the `after` of the next page."""
    query = select(Link).where(Link.user_id == user).order_by(Link.id.desc())
    if after is not None:
        query = query.where(Link.id < after)
    # One more than asked for tells whether another page follows.
    found = (await session.scalars(query.limit(limit + 1))).all()
    return found[:limit], found[limit - 1].id if len(found) > limit else None


async def clicks_by_day(session: AsyncSession, link: int, days: int) -> list[tuple[date, int]]:
    """The clicks of each of the last days, today's last."""
    today = datetime.now(UTC).date()
    first = today - timedelta(days=days - 1)
    counts = select(DayClicks.day, DayClicks.clicks).where(
        DayClicks.link_id == link, DayClicks.day >= first
    )
    found = {row.day: row.clicks for row in await session.execute(counts)}
    each = (first + timedelta(days=n) for n in range(days))
    return [(day, found.get(day, 0)) for day in each]
