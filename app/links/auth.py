"""Register, log in, stay logged in, log out; and who a request is from."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from links import accounts, logs, sessions, tokens
from links.database import Session
from links.problems import BODY, responses
from links.schemas import Credentials, Refresh, Tokens

_bearer = HTTPBearer(auto_error=False, description="An access token from POST /tokens.")

router = APIRouter()


async def current_user(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> int:
    """The user whose access token came with the request."""
    settings = request.app.state.settings
    user = tokens.user_of(bearer.credentials, settings) if bearer else None
    if user is None:
        raise _refused("an access token is needed, which hasn't expired")
    log_user(user)
    return user


CurrentUser = Annotated[int, Depends(current_user)]


def log_user(user: int) -> None:
    """Name the user in every further line of this request."""
    if request := logs.current.get():
        request.user_id = user


@router.post("/accounts", status_code=status.HTTP_201_CREATED, responses=responses(409, *BODY))
async def register(new: Credentials, request: Request, session: Session) -> Tokens:
    """Make an account, and log in."""
    user = await accounts.register(session, new.name, new.password.get_secret_value())
    if user is None:
        raise HTTPException(status.HTTP_409_CONFLICT, "this name is taken")
    return await _opened(session, user, request)


@router.post("/tokens", responses=responses(401, *BODY))
async def log_in(known: Credentials, request: Request, session: Session) -> Tokens:
    """Log in."""
    user = await accounts.log_in(session, known.name, known.password.get_secret_value())
    if user is None:
        raise _refused("no such name with this password")
    return await _opened(session, user, request)


@router.post("/tokens/refresh", responses=responses(401, *BODY))
async def refresh(given: Refresh, request: Request, session: Session) -> Tokens:
    """Get the next pair of tokens. A refresh token serves once: a second time ends the session."""
    rotated = await sessions.rotate(session, given.refresh_token)
    if rotated is None:
        raise _refused("this refresh token was used before, was revoked, or has expired")
    return _pair(*rotated, request)


@router.post("/tokens/revoke", status_code=status.HTTP_204_NO_CONTENT, responses=responses(*BODY))
async def revoke(given: Refresh, session: Session) -> None:
    """Log out: no refresh token of this session serves any more.

    Its access tokens do until they expire.
    """
    await sessions.close(session, given.refresh_token)


async def _opened(session: Session, user: int, request: Request) -> Tokens:
    refresh_token = await sessions.open_session(session, user)
    await session.commit()
    return _pair(user, refresh_token, request)


def _pair(user: int, refresh_token: str, request: Request) -> Tokens:
    settings = request.app.state.settings
    log_user(user)
    return Tokens(
        access_token=tokens.access_token(user, settings),
        expires_in=settings.access_token_seconds,
        refresh_token=refresh_token,
    )


def _refused(why: str) -> HTTPException:
    return HTTPException(status.HTTP_401_UNAUTHORIZED, why, {"WWW-Authenticate": "Bearer"})
