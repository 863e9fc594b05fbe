"""An app that writes nothing: its processes and jobs are stopped, and stay so over a reboot.

For a move to another server. A deploy starts the processes of its release; jobs wait for `resume`.
"""

from __future__ import annotations

from contextlib import suppress

from onebox_release.core import release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.parameters import Parameters
from onebox_release.paths import Places
from onebox_release.report import say

PATIENCE = 60  # seconds for a job to end by itself


def is_paused(places: Places) -> bool:
    """Return whether the app is paused."""
    return places.paused.exists()


def pause(places: Places, parameters: Parameters) -> None:
    """Stop all that an app runs. What it began is finished, jobs within a minute."""
    durable.write(places.paused, "", 0o644)  # first: from here on no job begins
    jobs = [f"{places.app}-{job}@*.service" for job in parameters.jobs]
    for pattern in jobs:
        with suppress(ReleaseError):
            systemd.wait_until_inactive(pattern, PATIENCE)
    kinds = ("web", "migrate", "hook", *release_units.known(places, parameters))
    units = [f"{places.app}@*.target", f"{places.app}-web@*.socket", *jobs]
    units += [f"{places.app}-{kind}@*.service" for kind in kinds]
    units.append(f"onebox-run-{places.app}@*.service")
    systemd.systemctl("stop", *units)
    say(f"{places.app} is paused: no process and no timer of it runs, until `resume` or a deploy")


def resume(places: Places) -> None:
    """Let an app's jobs run again; the caller starts its processes."""
    places.paused.unlink(missing_ok=True)
    durable.sync_folder(places.paused.parent)
