"""Create, list, redirect."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, status
from fastapi.responses import RedirectResponse

from links import store
from links.database import Session
from links.models import Link
from links.schemas import Hello, NewLink, Page, ShortLink

MAX_ID = 2**63 - 1  # PostgreSQL's bigint

router = APIRouter()


@router.get("/")
async def hello() -> Hello:
    """What this is."""
    return Hello()


@router.post("/links", status_code=status.HTTP_201_CREATED)
async def create(new: NewLink, request: Request, session: Session) -> ShortLink:
    """Shorten a URL."""
    return _shown(await store.create(session, str(new.url)), request)


@router.get("/links")
async def page(
    request: Request,
    session: Session,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Page:
    """List links, newest first."""
    # One more than asked for tells whether another page follows.
    found = await store.page(session, limit + 1, after)
    links = found[:limit]
    return Page(
        links=[_shown(link, request) for link in links],
        next=links[-1].id if len(found) > limit else None,
    )


@router.get(
    "/{code}",
    status_code=status.HTTP_307_TEMPORARY_REDIRECT,
    response_class=RedirectResponse,
)
async def follow(code: str, session: Session) -> str:
    """Go where a code leads."""
    link = await store.find(session, code)
    if link is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    return link.url


def _shown(link: Link, request: Request) -> ShortLink:
    address = request.app.state.settings.public_address or str(request.base_url).rstrip("/")
    return ShortLink(
        code=link.code,
        url=link.url,
        short_url=f"{address}/{link.code}",
        created_at=link.created_at,
    )
