"""Hooks of the app that run before and after a deploy: in its sandbox, as its user."""

from __future__ import annotations

from onebox_release.app import App, Release
from onebox_release.core.requester import requester
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.report import log

BEFORE, AFTER = "before", "after"
# The hook for each result of a deploy.
EVENTS = {"succeeded": AFTER, "rolled back": "rolled_back", "failed": "failed", "refused": "failed"}


def run(app: App, event: str, *, release: Release | None, **variables: str) -> None:
    """Run an event's hook in a release, with variables that describe the event.

    A failure is logged and has no effect; the unit has a timeout.
    """
    command = app.parameters.hooks.get(event)
    if not command:
        return
    if release is None or not release.folder.exists():
        log(f"The hook `{event}` did not run: no release is live")
        return
    values = {"COMMAND": command, "EVENT": event, "WHO": requester(), **variables}
    lines = [f"ONEBOX_HOOK_{name}={environment_quote(value)}\n" for name, value in values.items()]
    unit = release.unit("hook")
    try:
        durable.write(app.hook, "".join(lines))
        systemd.systemctl("start", unit, timeout=None)  # the unit has a timeout
        log(f"The hook `{event}` ran")
    except (ReleaseError, OSError) as error:
        log(f"The hook `{event}` failed (ignored): {error}. Read its log: journalctl -u {unit}")
        systemd.reset(unit)
    finally:
        app.hook.unlink(missing_ok=True)


def environment_quote(value: str) -> str:
    """Quote a value for EnvironmentFile=, line breaks included."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("`", "\\`") + '"'
