"""A page of ours in place of an app, for visitors alone.

nginx looks for a file at each request, so nothing is reloaded or rewritten. The file survives
deploys and reboots; the server itself, a deploy's question through nginx too, still gets the app.
"""

from __future__ import annotations

import http.client
from datetime import UTC, datetime

from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, health
from onebox_release.parameters import Parameters
from onebox_release.report import log

VISITOR = "127.0.0.2"  # an address of this server that nginx does not take for the server's own


def since(app: App) -> str | None:
    """Return since when the page is shown, or None."""
    try:
        at = app.maintenance.stat().st_mtime
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def on(app: App) -> None:
    """Show the page; see that a visitor gets it."""
    if not app.maintenance.exists():
        durable.write(app.maintenance, "", 0o644)
    if not _shown(app.parameters):
        off(app)
        raise ReleaseError(
            f"nginx does not show the page of {app.name}, and nothing is changed."
            " Deploy once: its configuration may be older than this program."
        )
    log(f"Visitors of {app.name} get the page, until maintenance is off again")


def off(app: App) -> None:
    """Let visitors in again."""
    app.maintenance.unlink(missing_ok=True)
    durable.sync_folder(app.maintenance.parent)


def _shown(parameters: Parameters) -> bool:
    domain = parameters.domains[0]
    for connection in (
        health.NginxConnection(domain, VISITOR),
        health.NginxPlainConnection(domain, VISITOR),
    ):
        try:
            answer = health.ask(connection, parameters.health)
        except (OSError, http.client.HTTPException):
            continue
        if (answer.status, answer.release) == (http.client.SERVICE_UNAVAILABLE, None):
            return True
    return False
