"""A release's health and the state of its processes in systemd. Read-only."""

from __future__ import annotations

import http.client
import signal
import time
from dataclasses import dataclass

from onebox_release.app import Release
from onebox_release.core import release_units
from onebox_release.host import health, systemd

FAILED, CRASHED = "it failed", "it crashed"
KILLED = (
    "it was killed (SIGKILL), by the kernel for lack of memory or by another process of this app"
    " (if the live release may be compromised, run `fab pause` first)"
)
TRIES, PAUSE = 3, 0.5  # checks of a live release, which may be restarting a worker; seconds between
RESTARTING = 3  # seconds that include at least one restart: RestartSec= is 2


@dataclass(frozen=True)
class Response:
    """The problem of a health check, or "", and its HTTP status, 0 if there was no response."""

    problem: str
    status: int = 0


def probe(release: Release, patience: float = health.PATIENCE) -> Response:
    """Check a release's health over its own socket."""
    connection = health.UnixConnection(release.socket, release.app.parameters.domains[0], patience)
    return ask(connection, release.health_path, release.id)


def ask(connection: http.client.HTTPConnection, path: str, release: str) -> Response:
    """Check a release's health over a connection."""
    try:
        answer = health.ask(connection, path)
    except (OSError, http.client.HTTPException) as error:
        return Response(health.unanswered(connection, error))
    if answer.release is None:
        problem = f"{path} answered {answer.summary}, not from a release"
        return Response(problem, answer.status)
    if answer.release != release:
        return Response(f"release {answer.release} answered", answer.status)
    good = answer.status == http.client.OK
    return Response("" if good else f"{path} answered {answer}", answer.status)


def crash(unit: str) -> str:
    """Return how a recently started unit ended, or "".

    A worker may exit with success and be restarted once, but not repeatedly.
    """
    asked = ("NRestarts", "ActiveState", "SubState", "Result", "ExecMainStatus")
    state = systemd.show(unit, *asked)
    if state.get("ActiveState") == "failed":
        return FAILED
    restarts = int(state.get("NRestarts") or 0)
    ending = state.get("SubState") == "auto-restart"
    if "-web@" in unit:
        endings = {("signal", str(int(signal.SIGKILL))): KILLED}
        key = state.get("Result", ""), state.get("ExecMainStatus", "")
        return endings.get(key, CRASHED) if restarts or ending else ""
    return CRASHED if restarts > 1 or _ends_badly(state) else ""


def keeps_crashing(unit: str) -> bool:
    """Check whether a unit, possibly up for long, fails repeatedly: it has restarted before, and is
    seen between a failure and its restart."""
    deadline = time.monotonic() + RESTARTING
    while True:
        state = systemd.show(unit, "NRestarts", "SubState", "Result")
        if int(state.get("NRestarts") or 0) < 2:
            return False
        if _ends_badly(state):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(PAUSE)


def live_problem(release: Release) -> str:
    """Return why a live release is unhealthy, or ""."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE)
        if not (problem := probe(release).problem):
            break
    else:
        return problem
    units = release_units.services(release)
    crashing = next((unit for unit in units if keeps_crashing(unit)), None)
    return f"{crashing} keeps crashing" if crashing else ""


def _ends_badly(state: dict[str, str]) -> bool:
    return state.get("SubState") == "auto-restart" and state.get("Result") != "success"
