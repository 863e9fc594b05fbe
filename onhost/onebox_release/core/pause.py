"""An app that writes nothing: its processes and jobs are stopped, and stay so over a reboot.

For a move to another server. A deploy starts the processes of its release; jobs wait for `resume`.
"""

from __future__ import annotations

from contextlib import suppress

from onebox_release.app import App
from onebox_release.core import release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.report import log

PATIENCE = 60  # seconds for a job to end by itself


def is_paused(app: App) -> bool:
    """Return whether the app is paused."""
    return app.paused.exists()


def pause(app: App) -> None:
    """Stop all that an app runs. What it began is finished, jobs within a minute."""
    durable.write(app.paused, "", 0o644)  # first: from here on no job begins
    jobs = [f"{app.name}-{job}@*.service" for job in app.parameters.jobs]
    for pattern in jobs:
        with suppress(ReleaseError):
            systemd.wait_until_inactive(pattern, PATIENCE)
    kinds = ("web", "migrate", "hook", *release_units.all_processes(app))
    units = [f"{app.name}@*.target", f"{app.name}-web@*.socket", *jobs]
    units += [f"{app.name}-{kind}@*.service" for kind in kinds]
    units.append(f"onebox-run-{app.name}@*.service")
    systemd.systemctl("stop", *units)
    log(f"{app.name} is paused: no process and no timer of it runs, until `resume` or a deploy")


def resume(app: App) -> None:
    """Let an app's jobs run again; the caller starts its processes."""
    app.paused.unlink(missing_ok=True)
    durable.sync_folder(app.paused.parent)
