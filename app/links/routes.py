"""A user's links: create, list, edit, delete, count."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, status

from links import store
from links.auth import CurrentUser
from links.database import Session
from links.models import Link
from links.problems import BODY, responses
from links.schemas import Code, Day, LinkChange, NewLink, Page, ShortLink

MAX_ID = 2**63 - 1  # PostgreSQL's bigint

router = APIRouter(prefix="/links", responses=responses(401, 422))


@router.post("", status_code=status.HTTP_201_CREATED, responses=responses(409, *BODY))
async def create(new: NewLink, request: Request, user: CurrentUser, session: Session) -> ShortLink:
    """Shorten a URL."""
    try:
        link = await store.create(session, user, str(new.url), new.code, new.expires_at)
    except store.CodeTakenError:
        raise HTTPException(status.HTTP_409_CONFLICT, "this code is taken") from None
    return shown(link, request)


@router.get("")
async def page(
    request: Request,
    user: CurrentUser,
    session: Session,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Page:
    """List your links, newest first."""
    links, following = await store.page(session, user, limit, after)
    return Page(links=[shown(link, request) for link in links], next=following)


@router.get("/{code}", responses=responses(404))
async def read(code: Code, request: Request, user: CurrentUser, session: Session) -> ShortLink:
    """Show one of your links."""
    return shown(_found(await store.find(session, user, code)), request)


@router.patch("/{code}", responses=responses(404, *BODY))
async def edit(
    code: Code, new: LinkChange, request: Request, user: CurrentUser, session: Session
) -> ShortLink:
    """Change where a link leads, or until when."""
    values = new.model_dump(exclude_unset=True)
    if new.url:
        values["url"] = str(new.url)
    return shown(_found(await store.change(session, user, code, values)), request)


@router.delete("/{code}", status_code=status.HTTP_204_NO_CONTENT, responses=responses(404))
async def remove(code: Code, user: CurrentUser, session: Session) -> None:
    """Delete a link and its clicks."""
    if not await store.remove(session, user, code):
        raise _missing()


@router.get("/{code}/clicks", responses=responses(404))
async def clicks(
    code: Code,
    user: CurrentUser,
    session: Session,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> list[Day]:
    """Count the clicks of each of the last days, today's last."""
    link = _found(await store.find(session, user, code))
    counts = await store.clicks_by_day(session, link.id, days)
    return [Day(day=day, clicks=clicks) for day, clicks in counts]


def shown(link: Link, request: Request) -> ShortLink:
    """A link as its owner sees it."""
    address = request.app.state.settings.public_address or str(request.base_url).rstrip("/")
    return ShortLink(
        code=link.code,
        url=link.url,
        short_url=f"{address}/{link.code}",
        created_at=link.created_at,
        expires_at=link.expires_at,
        checked_at=link.checked_at,
        fault=link.fault,
    )


def _found(link: Link | None) -> Link:
    if link is None:
        raise _missing()
    return link


def _missing() -> HTTPException:
    # Another's link is as good as none: which codes are whose is nobody's business.
    return HTTPException(status.HTTP_404_NOT_FOUND, "you have no such link")
