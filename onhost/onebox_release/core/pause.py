"""Pause an app: stop its processes and timers, also after a reboot, so that it writes no data.

For a move to another server. A deploy starts the processes of its release; timers wait for
`resume`.
"""

from __future__ import annotations

from contextlib import suppress

from onebox_release.app import App
from onebox_release.core import release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.report import log

PATIENCE = 60  # seconds for a timer's run to finish


def is_paused(app: App) -> bool:
    """Check whether the app is paused."""
    return app.paused.exists()


def pause(app: App) -> None:
    """Stop all of an app's processes and timers. Work in progress finishes, timers' runs within a
    minute."""
    durable.write(app.paused, "", 0o644)  # first, so that no timer's run starts from here on
    runs = [f"{app.name}-{timer}@*.service" for timer in app.parameters.timers]
    for pattern in runs:
        with suppress(ReleaseError):
            systemd.wait_until_inactive(pattern, PATIENCE)
    kinds = ("web", "migrate", "hook", *release_units.all_processes(app))
    units = [f"{app.name}@*.target", f"{app.name}-web@*.socket", *runs]
    units += [f"{app.name}-{kind}@*.service" for kind in kinds]
    units.append(f"onebox-run-{app.name}@*.service")
    systemd.systemctl("stop", *units)
    log(
        f"{app.name} is paused: its processes stay stopped until `resume` or a deploy, its timers"
        " until `resume`"
    )


def resume(app: App) -> None:
    """Let an app's timers run again; the caller starts its processes."""
    app.paused.unlink(missing_ok=True)
    durable.sync_folder(app.paused.parent)
