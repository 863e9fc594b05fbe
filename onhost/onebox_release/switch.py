"""From the live release to another one, so that no request notices; and back, if it does worse."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from pathlib import Path

from . import durable, faults, health, own_units, resources, systemd
from .errors import PutBackError, ReleaseError
from .parameters import Parameters, health_path
from .places import Places
from .report import cause, excerpt, say
from .watch import AccessLog

POLL = 0.1  # seconds between two looks at a starting release
LOOK = 0.5  # seconds between two looks at a live one
# nginx may have looked the old socket up just before the rename, and connect to it just after.
HANDOVER = 0.5
PUBLIC = 10  # seconds in which nginx must answer with the new release
CRASHES = FAILED, CRASHED = "it failed", "it crashed"
MISSES = 3  # health answers in a row that must be bad before a live release counts as broken


def live(places: Places) -> str | None:
    """Return the release that `current` points to, if it is there."""
    link = places.current
    return link.readlink().name if link.is_symlink() and link.exists() else None


def switch(places: Places, parameters: Parameters, release: str, *, can_go_back: bool) -> None:
    """Start a release beside the live one, make it live when it answers, and watch it.

    Raises ReleaseError where it does not hold. What is stopped then is decided by `current`
    alone, so that whatever went wrong, what it points to serves.
    """
    before = live(places)
    try:
        _start(places, parameters, release)
        log = AccessLog(places.access_log)
        durable.point(places.current, f"releases/{release}")
        faults.point("switched")
        _hold(places, parameters, release, before, log)
    except Exception as error:
        went_live = live(places) == release
        if went_live and before and not can_go_back:
            raise ReleaseError(f"{error}\nIt stays live: the database has moved on.") from error
        if went_live:
            _put_back(places, before)
        else:  # nobody but us asked it anything: there is nothing to wait for
            stop(places, parameters, release)
        retire(places, parameters)
        kind = PutBackError if went_live else ReleaseError
        raise kind(str(error)) from error


def retire(places: Places, parameters: Parameters) -> None:
    """Stop all releases but the live one, once their connections are finished or time is up."""
    for release in systemd.releases_up(places.app, own_units.known(places, parameters)):
        if release == live(places):
            continue
        say(f"Stopping release {release}")
        time.sleep(HANDOVER)
        drain(places.socket(release), parameters.drain)
        stop(places, parameters, release)
        faults.point("retired")


def stop(places: Places, parameters: Parameters, release: str) -> None:
    """Stop all of a release; each process gets the time that its unit gives it."""
    processes = own_units.services(places, parameters, release)
    systemd.systemctl("stop", places.target(release), *processes, places.web_socket(release))
    for unit in processes:
        if systemd.show(unit, "ActiveState").get("ActiveState") == "failed":
            systemd.systemctl("reset-failed", unit)


def _start(places: Places, parameters: Parameters, release: str) -> None:
    """Start the web process, and wait until it answers and has gone on to for a while."""
    say(f"Starting release {release}")
    unit = places.process("web", release)
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "--no-block", unit)
    faults.point("started")
    # Its own: a candidate starts with no restarts counted.
    problem = _wait(
        lambda: _trouble(places, parameters, release),
        parameters.start_timeout,
        give_up=lambda problem: problem in CRASHES,
    )
    settled = time.monotonic() + parameters.settle
    while not problem and time.monotonic() < settled:
        time.sleep(POLL)
        problem = _trouble(places, parameters, release, health.PATIENCE)
    if problem:
        log = systemd.journal(unit)
        why = problem + cause(log) if problem in CRASHES else problem
        raise ReleaseError(
            f"Release {release} did not become ready: {why}.\nIts last lines:\n{excerpt(log)}"
        )
    faults.point("settled")


def _hold(
    places: Places, parameters: Parameters, release: str, before: str | None, log: AccessLog
) -> None:
    """See that the public gets the new release, start all of it, and watch it."""
    check_public(places, parameters, release)
    systemd.systemctl("start", places.target(release))
    say(f"Release {release} is live")
    faults.point("joined")
    if before and parameters.watch:
        _watch(places, parameters, release, log)
        faults.point("watched")


def _watch(places: Places, parameters: Parameters, release: str, log: AccessLog) -> None:
    """Look at a release while the one before is still warm. Raises ReleaseError if it is worse."""
    seconds = resources.watch_time(parameters.watch, *resources.memory())
    say(f"Watching it for {seconds} s; stopping this command does not stop that")
    before, misses, end = log.before(), 0, time.monotonic() + seconds
    units = own_units.services(places, parameters, release)
    while time.monotonic() < end:
        time.sleep(LOOK)
        problem = own_answer(places, parameters, release)
        misses = misses + 1 if problem else 0
        since = log.since()
        if crashed := next((unit for unit in units if _crash(unit)), None):
            problem, misses = f"{crashed} died", MISSES
        elif since.is_worse_than(before):
            problem = f"{since.errors} of {since.total} requests failed"
            misses = MISSES
        if misses >= MISSES:
            told = excerpt(systemd.journal(crashed or units[0]))
            raise ReleaseError(f"Release {release} went bad: {problem}.\nIts last lines:\n{told}")


def _put_back(places: Places, before: str | None) -> None:
    """Make the release before live again, by the same rename."""
    if before:
        durable.point(places.current, f"releases/{before}")
        say(f"Put back release {before}")
        systemd.systemctl("start", "--no-block", places.target(before))
    else:
        places.current.unlink(missing_ok=True)
        durable.sync_folder(places.home)
    faults.point("put back")


def check_public(places: Places, parameters: Parameters, release: str) -> None:
    """Ask through nginx, over HTTPS or, without a certificate, HTTP, until the release answers."""
    domain = parameters.domains[0]
    path = health_path(places, parameters, release)

    def problem() -> str:
        over_tls = _problem(health.NginxConnection(domain), path, release)
        plain = over_tls and _problem(health.NginxPlainConnection(domain), path, release)
        return over_tls if plain else ""

    if found := _wait(problem, PUBLIC):
        raise ReleaseError(f"nginx does not answer with release {release}: {found}.")


def _trouble(places: Places, parameters: Parameters, release: str, patience: float = 1) -> str:
    """Return what is wrong with a starting release; a crash says more than no answer.

    Little patience at first: a starting app's socket takes connections long before they are
    answered, and a long wait would only see a crash later.
    """
    answer = own_answer(places, parameters, release, patience)
    return _crash(places.process("web", release)) or answer


def own_answer(
    places: Places, parameters: Parameters, release: str, patience: float = health.PATIENCE
) -> str:
    """Return what is wrong with a release's answer over its own socket, or nothing."""
    connection = health.UnixConnection(places.socket(release), parameters.domains[0], patience)
    return _problem(connection, health_path(places, parameters, release), release)


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
    """Return what systemd has seen of a unit's end, or nothing.

    A worker may end well, to be started afresh, but not again and again.
    """
    state = systemd.show(unit, "NRestarts", "ActiveState", "SubState", "Result")
    if state.get("ActiveState") == "failed":
        return FAILED
    restarts = int(state.get("NRestarts") or 0)
    ending = state.get("SubState") == "auto-restart"
    if "-web@" in unit:
        return CRASHED if restarts or ending else ""
    ending_badly = ending and state.get("Result") != "success"
    return CRASHED if restarts > 1 or ending_badly else ""


def _wait(
    problem: Callable[[], str], seconds: float, give_up: Callable[[str], bool] = lambda _: False
) -> str:
    """Look until there is no problem; return the last one if it stays."""
    deadline = time.monotonic() + seconds
    while (found := problem()) and time.monotonic() < deadline and not give_up(found):
        time.sleep(POLL)
    return found


def drain(socket: Path, seconds: float) -> None:
    """Wait until a socket has no connections, or the time is over."""
    _wait(lambda: "busy" if connections(socket) else "", seconds)


def connections(socket: Path) -> int:
    """Return how many connections a socket has, those still waiting to be accepted too.

    In /proc/net/unix a connection carries the path that it was made to, and no flags; the
    listening socket has the flag 0x10000 (SO_ACCEPTCON, man 5 proc).
    """
    fields = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return sum(f[3] == "00000000" and f[-1] == str(socket) for f in fields)
