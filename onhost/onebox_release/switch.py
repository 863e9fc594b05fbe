"""From the live release to another one, so that no request notices."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from pathlib import Path

from . import durable, health, systemd
from .errors import ReleaseError
from .parameters import Parameters
from .places import Places
from .report import say

POLL = 0.1  # seconds between two looks
# nginx may have looked the old socket up just before the rename, and connect to it just after.
HANDOVER = 0.5
EXCERPT = 20  # lines of the candidate's log in an error


def live(places: Places) -> str | None:
    """Return the release that `current` points to."""
    return places.current.readlink().name if places.current.is_symlink() else None


def migrate(places: Places, release: str) -> None:
    """Bring the database up to date for a release. Raises ReleaseError where that fails."""
    say("Migrating the database")
    unit = places.migration(release)
    try:
        systemd.systemctl("start", unit)
    except ReleaseError as error:
        log = systemd.journal(unit, EXCERPT)
        systemd.systemctl("reset-failed", unit)
        raise ReleaseError(f"The migration failed:\n{log}") from error


def switch(places: Places, parameters: Parameters, release: str) -> None:
    """Start a release beside the live one, and make it live when it answers.

    Raises ReleaseError where it doesn't; then it is stopped, and what served before still does.
    """
    before = live(places)
    say(f"Starting release {release}")
    try:
        _start(places, parameters, release)
    except ReleaseError:
        _stop(places, release)
        raise
    durable.point(places.current, f"releases/{release}")
    try:
        _check_public(parameters, release)
    except ReleaseError:
        if before:
            durable.point(places.current, f"releases/{before}")
            _drain(places.socket(release), parameters.drain)
            _stop(places, release)
        raise
    say(f"Release {release} is live")
    _retire(places, parameters, keep=release)


def recover(places: Places, parameters: Parameters) -> None:
    """Bring the server to what `current` says: that release up, every other one down."""
    release = live(places)
    if release is None:
        return
    systemd.systemctl("start", "--no-block", places.target(release))
    _retire(places, parameters, keep=release)


def _start(places: Places, parameters: Parameters, release: str) -> None:
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "--no-block", places.target(release))
    connection = health.UnixConnection(places.socket(release), parameters.domains[0])
    problem = _wait(
        lambda: _problem(connection, parameters.health, release) or _crash(places.web(release)),
        parameters.start_timeout,
        give_up=lambda: bool(_crash(places.web(release))),
    )
    if problem:
        log = systemd.journal(places.web(release), EXCERPT)
        raise ReleaseError(f"Release {release} did not become ready: {problem}.\n{log}")


def _check_public(parameters: Parameters, release: str) -> None:
    """Ask through nginx until the new release answers."""

    def problem() -> str:
        domain = parameters.domains[0]
        over_tls = _problem(health.NginxConnection(domain), parameters.health, release)
        if not over_tls:
            return ""
        plain = health.NginxPlainConnection(domain)
        return over_tls if _problem(plain, parameters.health, release) else ""

    if found := _wait(problem, seconds=10):
        raise ReleaseError(f"nginx does not answer with release {release}: {found}.")


def _problem(connection: http.client.HTTPConnection, path: str, release: str) -> str:
    """Return what is wrong with a release's answer, or nothing."""
    try:
        answer = health.ask(connection, path)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    if answer.release != release:
        return f"release {answer.release} answered"
    return "" if answer.status == http.client.OK else f"{path} answered {answer}"


def _crash(unit: str) -> str:
    state = systemd.show(unit, "NRestarts", "Result")
    return "it crashed at start" if state.get("NRestarts", "0") != "0" else ""


def _wait(
    problem: Callable[[], str], seconds: float, give_up: Callable[[], bool] = lambda: False
) -> str:
    """Look until there is no problem; return the last one if it stays."""
    deadline = time.monotonic() + seconds
    while (found := problem()) and time.monotonic() < deadline and not give_up():
        time.sleep(POLL)
    return found


def _retire(places: Places, parameters: Parameters, keep: str) -> None:
    """Stop every other release, once its connections are finished or their time is up."""
    for release in systemd.active_releases(places.app):
        if release != keep:
            say(f"Stopping release {release}")
            time.sleep(HANDOVER)
            _drain(places.socket(release), parameters.drain)
            _stop(places, release)


def _stop(places: Places, release: str) -> None:
    systemd.systemctl("stop", places.target(release), f"{places.app}-web@{release}.socket")


def _drain(socket: Path, seconds: float) -> None:
    _wait(lambda: "busy" if connections(socket) else "", seconds)


def connections(socket: Path) -> int:
    """Return how many connections a socket has, those still waiting to be accepted too.

    In /proc/net/unix a connection carries the path that it was made to, and has the flags 0;
    the listening socket has the flag 0x10000 (SO_ACCEPTCON, man 5 proc).
    """
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(len(f) > 7 and f[7] == str(socket) and f[3] == "00000000" for f in fields)
