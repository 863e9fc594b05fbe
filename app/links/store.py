"""Links in the database."""

import re
import secrets
import string
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from links.models import Link

CODE_LENGTH = 7
ALPHABET = string.ascii_letters + string.digits
CODE = re.compile(f"[{ALPHABET}]{{{CODE_LENGTH}}}")

# Of 62**7 codes, a million are in use: one try in 3.5 million collides, so five in a row mean
# that something else is wrong.
TRIES = 5


def new_code() -> str:
    """A random code, which may be in use."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


async def create(session: AsyncSession, url: str) -> Link:
    """A new link to `url`, committed.

    Raises:
        RuntimeError: no free code was found.
    """
    for _ in range(TRIES):
        row = insert(Link).values(code=new_code(), url=url).on_conflict_do_nothing()
        link: Link | None = await session.scalar(row.returning(Link))
        if link:
            await session.commit()
            return link
    raise RuntimeError(f"no free code in {TRIES} tries")


async def find(session: AsyncSession, code: str) -> Link | None:
    """The link of this code, if there is one."""
    # PostgreSQL refuses some strings outright, such as those with a NUL in them.
    if not CODE.fullmatch(code):
        return None
    return await session.scalar(select(Link).where(Link.code == code))


async def page(session: AsyncSession, limit: int, after: int | None) -> Sequence[Link]:
    """Up to `limit` links, newest first, from the one that follows the link of id `after`."""
    query = select(Link).order_by(Link.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Link.id < after)
    return (await session.scalars(query)).all()
