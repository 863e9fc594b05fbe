"""What is known of every request: its id, how long it took, and what went wrong."""

import logging
import re
import time
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from links.logs import RequestInfo, current, route_template
from links.metrics import count_request
from links.problems import problem

SLOW = 1.0  # seconds

# What may stand in a log line and a header: nginx makes 32 hexadecimal digits.
REQUEST_ID = re.compile(rb"[0-9A-Za-z_-]{8,64}")

log = logging.getLogger(__name__)


class Observe:
    """Names each request, measures it, and answers 500 for one that broke."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = RequestInfo(_request_id(scope), scope)
        current.set(request)
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request.request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            log.exception("request failed")
            if status:
                raise  # too late for another answer: the server cuts the connection
            await problem(500, "The server failed; its log has the request's id.")(
                scope, receive, named
            )
        finally:
            _measured(request, status)


def _measured(request: RequestInfo, status: int) -> None:
    took = time.perf_counter() - request.started
    count_request(request.scope["method"], route_template(request.scope), status, took)
    if took > SLOW:
        log.warning("slow request")


def _request_id(scope: Scope) -> str:
    given = next((text for key, text in scope["headers"] if key == b"x-request-id"), b"")
    return given.decode() if REQUEST_ID.fullmatch(given) else uuid4().hex
