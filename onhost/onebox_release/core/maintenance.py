"""Serve a maintenance page to clients in place of an app.

nginx checks for a file at each request, so nothing is reloaded or rewritten. The file survives
deploys and reboots. Requests from the server itself, such as a deploy's health check, still reach
the app.
"""

from __future__ import annotations

import http.client
from datetime import UTC, datetime

from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, health
from onebox_release.parameters import Parameters
from onebox_release.report import log

CLIENT = "127.0.0.2"  # a loopback address that nginx treats as a client's


def since(app: App) -> str | None:
    """Return when maintenance began, or None."""
    try:
        at = app.maintenance.stat().st_mtime
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def enable(app: App) -> None:
    """Serve the maintenance page, and check that clients get it."""
    if not app.maintenance.exists():
        durable.write(app.maintenance, "", 0o644)
    if not _is_served(app.parameters):
        _disable(app)
        raise ReleaseError(
            f"nginx does not serve the maintenance page of {app.name}; maintenance is off. nginx's"
            " configuration may be outdated: deploy once."
        )
    log(f"Clients of {app.name} get the maintenance page until maintenance is off")


def disable(app: App) -> None:
    """Serve the app to clients again."""
    _disable(app)
    log(f"Clients of {app.name} get the app again")


def _disable(app: App) -> None:
    app.maintenance.unlink(missing_ok=True)
    durable.sync_folder(app.maintenance.parent)


def _is_served(parameters: Parameters) -> bool:
    domain = parameters.domains[0]
    for connection in (
        health.NginxConnection(domain, CLIENT),
        health.NginxPlainConnection(domain, CLIENT),
    ):
        try:
            answer = health.ask(connection, parameters.health)
        except (OSError, http.client.HTTPException):
            continue
        if (answer.status, answer.release) == (http.client.SERVICE_UNAVAILABLE, None):
            return True
    return False
