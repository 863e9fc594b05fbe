"""What an app does by a timer: with the live release's code, one run at a time."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from onebox_release.app import App
from onebox_release.core import pause
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.report import excerpt, log

Run = dict[str, Any]
"""When a run began, in which release, and how it ended."""
LINES = 10  # of its own, for whoever is told that it failed


def run(app: App, job: str) -> None:
    """Run a job in the live release, wait for its end, and write down how it went.

    While a deploy is under way nobody knows yet which release will stay, so it waits for that. A
    release that is switched from meanwhile is kept until the job is through.
    """
    if pause.is_paused(app):
        log(f"{app.name} is paused: {job} is not run")
        return
    systemd.wait_until_inactive(app.unit)
    systemd.wait_until_inactive(f"{app.name}-{job}@*.service")  # somebody else started it
    release = app.live()
    if release is None:
        log(f"No release of {app.name} is live: {job} has nothing to run in")
        return
    unit, at, start = release.unit(job), datetime.now(UTC), time.monotonic()
    started = True
    try:
        systemd.systemctl("start", unit, within=None)  # the unit's own timeout bounds it
    except ReleaseError as error:
        started = False
        log(str(error))
    state = systemd.show(unit, "Result", "ExecMainStatus")
    result = state.get("Result", "success")
    if not started and result == "success":  # systemd knows nothing of it, so it never ran
        result = "not started"
    entry = {
        "at": at.isoformat(timespec="seconds"),
        "release": release.id,
        "result": result,
        "exit": int(state.get("ExecMainStatus") or 0),
        "seconds": round(time.monotonic() - start, 1),
    }
    if result != "success":
        entry["excerpt"] = excerpt(systemd.journal(unit, LINES * 4), LINES)
        systemd.reset(unit)  # it is told as a job, not as a unit, too
    durable.write(app.job(job), json.dumps(entry))
    log(f"{job}: {result}, {entry['seconds']} s")
    if result != "success":
        systemd.run_checks()


def last(app: App) -> dict[str, Run]:
    """Return how each job's last run went; jobs that never ran have none."""
    found: dict[str, Run] = {}
    for job in app.parameters.jobs:
        with suppress(OSError, ValueError):
            found[job] = json.loads(app.job(job).read_text())
    return found


def running(app: App) -> set[str]:
    """Return the releases that a job runs in."""
    patterns = [f"{app.name}-{job}@*.service" for job in app.parameters.jobs]
    up = systemd.units("--state=activating,active,deactivating", *patterns) if patterns else []
    return {unit.partition("@")[2].rpartition(".")[0] for unit in up}
