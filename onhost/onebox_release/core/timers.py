"""Run the app's timers: in the live release, one run at a time."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from onebox_release.app import App
from onebox_release.core import pause
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import durable, systemd
from onebox_release.report import excerpt, log

Run = dict[str, Any]
"""A run: `at`, `release`, `result` (systemd's Result), `exit`, `seconds`, and `excerpt`, the end of
its log, if it failed."""
LINES = 10  # lines of its log, for the notification


def run(app: App, timer: str) -> None:
    """Run a timer's command in the live release, wait for it, and record its result.

    Waits for a deploy in progress, because it may be rolled back. If the release is replaced during
    the run, it is kept until the run ends. Raises RefusedError if the app has no such timer.
    """
    if timer not in app.parameters.timers:
        if "INVOCATION_ID" in os.environ:
            # In its unit, which a deploy is removing. Without its file, systemd would take any exit
            # code but 0 for a failure.
            log(f"{timer} did not run: it is no longer a timer of {app.name}")
            return
        known = ", ".join(app.parameters.timers) or "none"
        raise RefusedError(f"{app.name} has no timer {timer!r}. It has: {known}.")
    if pause.is_paused(app):
        log(f"{timer} did not run: {app.name} is paused")
        return
    systemd.wait_until_inactive(app.unit)
    systemd.wait_until_inactive(f"{app.name}-{timer}@*.service")  # a run that was started by hand
    release = app.live()
    if release is None:
        log(f"{timer} did not run: no release of {app.name} is live")
        return
    unit, at, start = release.unit(timer), datetime.now(UTC), time.monotonic()
    started, cursor = True, systemd.cursor()
    try:
        systemd.systemctl("start", unit, timeout=None)  # the unit has a timeout
    except ReleaseError as error:
        started = False
        log(str(error))
    state = systemd.show(unit, "Result", "ExecMainStatus")
    result = state.get("Result", "success")
    if not started and result == "success":  # systemd has no result, so it never ran
        result = "not started"
    entry = {
        "at": at.isoformat(timespec="seconds"),
        "release": release.id,
        "result": result,
        "exit": int(state.get("ExecMainStatus") or 0),
        "seconds": round(time.monotonic() - start, 1),
    }
    if result != "success":
        entry["excerpt"] = excerpt(systemd.journal(unit, LINES * 4, after=cursor), LINES)
        systemd.reset(unit)  # otherwise the check `unit` would report it a second time
    durable.write(app.timer_result(timer), json.dumps(entry))
    if result == "success":
        log(f"{timer} ran for {entry['seconds']} s")
        return
    log(f"{timer} failed ({result}, exit code {entry['exit']}) after {entry['seconds']} s")
    systemd.run_checks()


def last(app: App) -> dict[str, Run]:
    """Return each timer's last run; timers that never ran have none."""
    found: dict[str, Run] = {}
    for timer in app.parameters.timers:
        with suppress(OSError, ValueError):
            found[timer] = json.loads(app.timer_result(timer).read_text())
    return found


def running(app: App) -> set[str]:
    """Return the releases in which a timer's run is active."""
    patterns = [f"{app.name}-{timer}@*.service" for timer in app.parameters.timers]
    up = systemd.units("--state=activating,active,deactivating", *patterns) if patterns else []
    return {unit.partition("@")[2].rpartition(".")[0] for unit in up}
