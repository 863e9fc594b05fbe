"""What the app's owner wants run before and after a deploy: in the app's sandbox, as its user."""

from __future__ import annotations

from onebox_release.app import App, Release
from onebox_release.core.requester import requester
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.report import log

BEFORE, AFTER = "before", "after"
# Which hook each result of a deploy has.
EVENTS = {"live": AFTER, "rolled back": "rolled_back", "failed": "failed", "refused": "failed"}


def run(app: App, event: str, *, within: Release | None, **told: str) -> None:
    """Run the hook of an event with what is told about it, in the release `within`.

    Whatever comes of it is said, and changes nothing: its unit's time is bounded.
    """
    command = app.parameters.hooks.get(event)
    if not command:
        return
    if within is None or not within.folder.exists():
        log(f"No release serves that the hook `{event}` could run in")
        return
    values = {"COMMAND": command, "EVENT": event, "WHO": requester(), **told}
    lines = [f"ONEBOX_HOOK_{name}={environment_quote(value)}\n" for name, value in values.items()]
    unit = within.unit("hook")
    try:
        durable.write(app.hook, "".join(lines))
        systemd.systemctl("start", unit, within=None)  # the unit bounds it
        log(f"The hook `{event}` ran")
    except (ReleaseError, OSError) as error:
        log(f"The hook `{event}` failed, and changed nothing: {error}. See journalctl -u {unit}")
        systemd.reset(unit)
    finally:
        app.hook.unlink(missing_ok=True)


def environment_quote(value: str) -> str:
    """Quote a value for EnvironmentFile=, line breaks included."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("`", "\\`") + '"'
