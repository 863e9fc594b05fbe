"""How large a request may be."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from links.problems import problem

MAX_BODY = 16 * 1024  # bytes: a URL of 2048 characters, percent-encoded and escaped, with room

TOO_LARGE = f"a body may have {MAX_BODY} bytes"


class LimitBody:
    """Refuses a body that is too large: at once if it says so, else when it has become so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _announced(scope) > MAX_BODY:
            await problem(413, TOO_LARGE)(scope, receive, send)
        else:
            await self._app(scope, _counted(receive), send)


def _announced(scope: Scope) -> int:
    # The server has refused a length that isn't a number.
    return next((int(text) for key, text in scope["headers"] if key == b"content-length"), 0)


def _counted(receive: Receive) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counting
