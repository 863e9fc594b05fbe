"""Log lines: JSON for the journal, text for a person, each with the request that it is about."""

import json
import logging
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gunicorn.glogging import Logger
from starlette.types import Scope

# Those that the servers set up with handlers of their own.
SERVERS = ("gunicorn.error", "uvicorn", "uvicorn.error", "uvicorn.access")


@dataclass(slots=True)
class RequestInfo:
    """What every line of a request tells about it."""

    request_id: str
    scope: Scope
    started: float = field(default_factory=time.perf_counter)
    user_id: int | None = None

    def fields(self) -> dict[str, Any]:
        """The request's part of a line."""
        return {
            "request_id": self.request_id,
            "method": self.scope["method"],
            "route": route_template(self.scope),
            "user_id": self.user_id,
            "duration_ms": round(1000 * (time.perf_counter() - self.started), 1),
        }


# Never reset: each request runs in a task of its own, and the server's last words about it come
# after ours.
current: ContextVar[RequestInfo | None] = ContextVar("request", default=None)


def route_template(scope: Scope) -> str | None:
    """The matched route's path with its parameters' names; None if there is none."""
    return getattr(scope.get("route"), "path_format", None)


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        request = current.get()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | (request.fields() if request else {}))


class TextFormatter(logging.Formatter):
    """A line to read, with the request at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        request = current.get()
        fields = request.fields() if request else {}
        shown = " ".join(f"{key}={value}" for key, value in fields.items() if value is not None)
        return f"{super().format(record)} {shown}".rstrip()


def configure(*, development: bool) -> None:
    """Send every line of this process to stdout in one form, the servers' included."""
    handler = logging.StreamHandler(sys.stdout)
    text = TextFormatter("%(levelname)s %(name)s: %(message)s")
    handler.setFormatter(text if development else JSONFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    for name in SERVERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # nginx writes the access log.
    logging.getLogger("uvicorn.access").disabled = True


class GunicornLogger(Logger):
    """Gunicorn's own lines in the same form, those of the master and before the app is loaded."""

    def setup(self, cfg: Any) -> None:
        """Take Gunicorn's level, and our form."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JSONFormatter())
        self.error_log.addHandler(handler)
