"""Log in, register and log out on the page."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from links import accounts, cookies, sessions
from links.database import Session
from links.html import checked, render, to
from links.schemas import Credentials

router = APIRouter(include_in_schema=False, dependencies=[Depends(cookies.same_origin)])

Text = Annotated[str, Form()]


@router.get("/login")
async def login_form(request: Request) -> Response:
    """Show the form."""
    return render(request, "login.html", new=False)


@router.post("/login")
async def log_in(
    request: Request, session: Session, name: Text = "", password: Text = ""
) -> Response:
    """Log in."""
    known = checked(Credentials, name=name, password=password)
    user = None
    if isinstance(known, Credentials):
        user = await accounts.log_in(session, known.name, known.password.get_secret_value())
    if user is None:
        # One message for all: which names exist is nobody's business.
        error = "There is no such name with this password."
        return render(request, "login.html", error, new=False, name=name)
    return await _entered(request, session, user)


@router.get("/register")
async def register_form(request: Request) -> Response:
    """Show the form."""
    return render(request, "login.html", new=True)


@router.post("/register")
async def register(
    request: Request, session: Session, name: Text = "", password: Text = ""
) -> Response:
    """Make an account, and log in."""
    new = checked(Credentials, name=name, password=password)
    if isinstance(new, str):
        return render(request, "login.html", new, new=True, name=name)
    user = await accounts.register(session, new.name, new.password.get_secret_value())
    if user is None:
        return render(request, "login.html", "This name is taken.", new=True, name=name)
    return await _entered(request, session, user)


@router.post("/logout")
async def log_out(request: Request, session: Session) -> Response:
    """Log out."""
    response = to("/login")
    await cookies.forget(response, request, session)
    return response


async def _entered(request: Request, session: Session, user: int) -> Response:
    token = await sessions.open_session(session, user)
    await session.commit()
    response = to("/")
    cookies.remember(response, request, token)
    return response
