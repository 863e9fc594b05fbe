"""The page's cookie: it stands for a session, and other sites' pages can't use it."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request, Response, status

from links import auth, sessions
from links.database import Session


def _name(request: Request) -> str:
    # The prefix makes browsers refuse one that a neighbouring subdomain or plain HTTP has set.
    return "__Host-session" if request.url.scheme == "https" else "session"


def remember(response: Response, request: Request, token: str) -> None:
    """Have the browser send the session's token from now on, and show it to no script."""
    response.set_cookie(
        _name(request),
        token,
        max_age=int(sessions.LIFE.total_seconds()),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # a link from elsewhere finds one logged in; a form from elsewhere doesn't
    )


async def forget(response: Response, request: Request, session: Session) -> None:
    """End the session, and have the browser drop its token."""
    await sessions.close(session, request.cookies.get(_name(request), ""))
    secure = request.url.scheme == "https"
    response.delete_cookie(_name(request), secure=secure, httponly=True, samesite="lax")


async def visitor(request: Request, session: Session) -> int:
    """The user who is logged in on the page; anyone else is sent to log in."""
    user = await sessions.user_of(session, request.cookies.get(_name(request), ""))
    if user is None:
        raise HTTPException(status.HTTP_303_SEE_OTHER, headers={"Location": "/login"})
    auth.log_user(user)
    return user


Visitor = Annotated[int, Depends(visitor)]


def same_origin(request: Request) -> None:
    """Refuse a form that another site's page has sent: with the cookie it would act as the user.

    Browsers tell the sender's site in Sec-Fetch-Site, older ones its origin in Origin; scripts
    outside a browser tell neither, and have the API.
    """
    if request.method in ("GET", "HEAD"):
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = f"{request.url.scheme}://{request.url.netloc}"
    if site != "same-origin" if site else origin != ours:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "this form was sent by another site")
