"""What a release answers, and what systemd knows of its processes. Read-only."""

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
    "it was killed (SIGKILL), for want of memory or by another process of this app. May the live"
    " release be compromised? Then pause the app first: `fab pause`"
)
TRIES, PAUSE = 3, 0.5  # for a live release, which may be restarting a worker; seconds
RESTARTING = 3  # seconds that hold one restart at least: RestartSec= is 2


@dataclass(frozen=True)
class Response:
    """What is wrong with an answer, or nothing; and its HTTP status, 0 where there was none."""

    problem: str
    status: int = 0


def probe(release: Release, patience: float = health.PATIENCE) -> Response:
    """Ask a release over its own socket."""
    connection = health.UnixConnection(release.socket, release.app.parameters.domains[0], patience)
    return ask(connection, release.health_path, release.id)


def ask(connection: http.client.HTTPConnection, path: str, release: str) -> Response:
    """Ask for a release's health over a connection."""
    try:
        answer = health.ask(connection, path)
    except (OSError, http.client.HTTPException) as error:
        return Response(health.unanswered(connection, error))
    if answer.release is None:
        problem = f"{path} answered {answer.summary}, which no release sent"
        return Response(problem, answer.status)
    if answer.release != release:
        return Response(f"release {answer.release} answered", answer.status)
    good = answer.status == http.client.OK
    return Response("" if good else f"{path} answered {answer}", answer.status)


def crash(unit: str) -> str:
    """Return what systemd has seen of the end of a unit that was started lately, or nothing.

    A worker may end well, to be started afresh, but not again and again.
    """
    asked = ("NRestarts", "ActiveState", "SubState", "Result", "ExecMainStatus")
    state = systemd.show(unit, *asked)
    if state.get("ActiveState") == "failed":
        return FAILED
    restarts = int(state.get("NRestarts") or 0)
    ending = state.get("SubState") == "auto-restart"
    if "-web@" in unit:
        ways = {("signal", str(int(signal.SIGKILL))): KILLED}
        way = ways.get((state.get("Result", ""), state.get("ExecMainStatus", "")), CRASHED)
        return way if restarts or ending else ""
    return CRASHED if restarts > 1 or _ends_badly(state) else ""


def keeps_crashing(unit: str) -> bool:
    """Check whether a unit that may have run for long ends badly again and again: it has been
    restarted before, and is seen between a crash and the restart."""
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
    """Return why a live release does not serve, or nothing."""
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
