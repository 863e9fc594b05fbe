"""A user's links on the page: the same as the API's, as plain forms without a script."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response, status

from links import cookies, store
from links.database import Session
from links.html import checked, end_of, render, to
from links.routes import MAX_ID, shown
from links.schemas import LinkChange, NewLink

PAGE = 20  # links
DAYS = 30  # in the plot

router = APIRouter(include_in_schema=False, dependencies=[Depends(cookies.same_origin)])

Text = Annotated[str, Form()]
Owner = cookies.Visitor  # whose links these are


@router.get("/")
async def home(
    request: Request,
    user: Owner,
    session: Session,
    after: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Response:
    """Show the form and the user's links."""
    return await _home(request, user, session, after=after)


@router.post("/")
async def create(
    request: Request,
    user: Owner,
    session: Session,
    url: Text = "",
    code: Text = "",
    expires: Text = "",
) -> Response:
    """Shorten a URL."""
    form = {"url": url, "code": code, "expires": expires}
    new = checked(NewLink, url=url, code=code or None, expires_at=end_of(expires))
    if isinstance(new, str):
        return await _home(request, user, session, error=new, form=form)
    try:
        link = await store.create(session, user, str(new.url), new.code, new.expires_at)
    except store.CodeTakenError:
        return await _home(request, user, session, error="Code: this one is taken", form=form)
    return to(f"/stats/{link.code}")


@router.get("/stats/{code}")
async def stats(request: Request, code: str, user: Owner, session: Session) -> Response:
    """Show a link and its clicks."""
    return await _stats(request, code, user, session)


@router.post("/stats/{code}")
async def edit(
    request: Request,
    code: str,
    user: Owner,
    session: Session,
    url: Text = "",
    expires: Text = "",
) -> Response:
    """Change a link."""
    change = checked(LinkChange, url=url, expires_at=end_of(expires))
    if isinstance(change, str):
        return await _stats(request, code, user, session, error=change)
    values = {"url": str(change.url), "expires_at": change.expires_at}
    await store.change(session, user, code, values)
    return to(f"/stats/{code}")


@router.post("/stats/{code}/delete")
async def remove(code: str, user: Owner, session: Session) -> Response:
    """Delete a link."""
    await store.remove(session, user, code)
    return to("/")


async def _home(
    request: Request, user: int, session: Session, after: int | None = None, **values: Any
) -> Response:
    links, following = await store.page(session, user, PAGE, after)
    rows = [shown(link, request) for link in links]
    return render(request, "home.html", links=rows, next=following, after=after, **values)


async def _stats(
    request: Request, code: str, user: int, session: Session, error: str | None = None
) -> Response:
    link = await store.find(session, user, code)
    if link is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "you have no such link")
    return render(
        request,
        "stats.html",
        error,
        link=shown(link, request),
        # Its end is the first moment of the day after.
        last_day=(link.expires_at - timedelta(microseconds=1)).date() if link.expires_at else None,
        days=await store.clicks_by_day(session, link.id, DAYS),
    )
