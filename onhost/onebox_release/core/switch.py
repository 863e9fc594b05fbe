"""From the live release to another one, so that no request notices; and back, if it does worse."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from onebox_release import faults
from onebox_release.app import App, Release
from onebox_release.core import release_units, starting, unit_states
from onebox_release.core.watch import AccessLog
from onebox_release.errors import ReleaseError, RolledBackError, UnhealthyError, describe
from onebox_release.host import durable, health, resources, systemd
from onebox_release.report import last_lines, log

SOCKETS = Path("/proc/net/unix")
POLL = 0.1  # seconds between two checks
LOOK = 0.5  # seconds between two looks at a live one
# nginx may have looked the old socket up just before the rename, and connect to it just after.
HANDOVER = 0.5
PUBLIC = 10  # seconds in which nginx must answer with the new release
MISSES = 3  # health answers in a row that must be bad before a live release counts as broken
# A first release has nothing to be rolled back to: its watch sees that its processes start, which
# takes them about as long as the web process took.
FIRST, FIRST_STARTS = 10, 2  # seconds at least; times the start


def switch(
    release: Release,
    *,
    can_roll_back: bool,
    patient: bool = False,
) -> None:
    """Start a release beside the live one, make it live when it answers, and watch it.

    `patient` is for a release that was live before: a slow start is no failure.

    Raises ReleaseError where it does not hold. What is stopped then is decided by `current`
    alone, so that whatever went wrong, what it points to serves.
    """
    before = release.app.live()
    cursor = systemd.cursor()
    try:
        took = _start(release, patient=patient, cursor=cursor)
        access_log = AccessLog(release.app.access_log)
        durable.point(release.app.current, f"releases/{release}")
        faults.point("switched")
        seconds = release.app.parameters.watch
        if not before:
            seconds = min(seconds, max(FIRST, FIRST_STARTS * int(took)))
        _hold(release, seconds, access_log, cursor)
    except Exception as error:
        went_live = release.app.live() == release
        if went_live and (why := _why_it_stays(before, error, can_roll_back)):
            raise ReleaseError(f"{describe(error)}\nIt stays live: {why}.") from error
        if not went_live:  # it has no client but us: there is nothing to wait for
            stop(release)
            retire(release.app)
            raise
        _roll_back(release.app, before)
        retire(release.app)
        raise RolledBackError(describe(error)) from error


def _why_it_stays(
    before: Release | None,
    error: Exception,
    can_roll_back: bool,  # noqa: FBT001
) -> str:
    """Return why a release that went live stays live though it does not hold, or nothing."""
    if before is None:
        bad = isinstance(error, UnhealthyError)  # nginx reaches it, and that is better than nothing
        return "there is no previous release to roll back to" if bad else ""
    if not can_roll_back:
        return "the database has moved on"
    problem = unit_states.live_problem(before)
    return f"the previous release, {before}, does not serve either ({problem})" if problem else ""


def retire(app: App) -> None:
    """Stop all releases but the live one, once their connections are finished or time is up."""
    for name in systemd.releases_up(app.name, release_units.all_processes(app)):
        release = app.release(name)
        if release == app.live():
            continue
        log(f"Stopping release {release}")
        time.sleep(HANDOVER)
        drain(release.socket, app.parameters.drain)
        stop(release)
        faults.point("retired")


def stop_exclusive(release: Release) -> None:
    """Stop the processes of other releases that must not run beside this one's own."""
    for other in {whose for _, whose in release_units.all_units(release.app)} - {release}:
        names = release_units.alone(release) | release_units.alone(other)
        own = release_units.processes(other)
        units = [other.unit(name) for name in sorted(names) if name in own]
        if up := [unit for unit in units if systemd.is_active(unit)]:
            systemd.systemctl("stop", *up)


def stop(release: Release) -> None:
    """Stop all of a release; each process gets the time that its unit gives it."""
    processes = release_units.services(release)
    socket = release.web_socket
    systemd.systemctl("stop", release.target, *processes, socket)
    for unit in (*processes, socket):
        if systemd.show(unit, "ActiveState").get("ActiveState") == "failed":
            systemd.systemctl("reset-failed", unit)


def _start(release: Release, *, patient: bool, cursor: str) -> float:
    """Start the web process, and wait until it answers and has gone on to for a while; return
    the seconds that took."""
    log(f"Starting release {release}")
    begun = time.monotonic()
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "--no-block", release.unit("web"))
    faults.point("started")
    # Its own: a candidate starts with no restarts counted.
    starting.wait(release, patient=patient, cursor=cursor)
    faults.point("settled")
    return time.monotonic() - begun


def _hold(release: Release, seconds: int, access_log: AccessLog, cursor: str) -> None:
    """See that the public gets the new release, start all of it, and watch it."""
    check_public(release)
    stop_exclusive(release)
    systemd.systemctl("start", release.target)
    log(f"Release {release} is live")
    faults.point("joined")
    if seconds:
        _watch(release, seconds, access_log, cursor)
        faults.point("watched")


def _watch(release: Release, seconds: int, access_log: AccessLog, cursor: str) -> None:
    """Check a release while the previous one is still warm. Raises WentBadError if it is worse."""
    seconds = resources.watch_time(seconds, *resources.memory())
    log(f"Watching it for {seconds} s; stopping this command does not stop that")
    before, misses, end = access_log.before(), 0, time.monotonic() + seconds
    units = release_units.services(release)
    while time.monotonic() < end:
        time.sleep(LOOK)
        problem = answer_problem(release)
        misses = misses + 1 if problem else 0
        since = access_log.since()
        if crashed := next((unit for unit in units if unit_states.crash(unit)), None):
            problem, misses = f"{crashed} died", MISSES
        elif since.is_worse_than(before):
            problem = f"{since.errors} of {since.total} requests failed"
            misses = MISSES
        if misses >= MISSES:
            told = last_lines(systemd.journal(crashed or units[0], after=cursor))
            raise UnhealthyError(f"Release {release} went bad: {problem}.\n{told}")


def _roll_back(app: App, before: Release | None) -> None:
    """Make the release before live again, by the same rename."""
    if before:
        durable.point(app.current, f"releases/{before}")
        log(f"Rolled back to release {before}")
        stop_exclusive(before)
        systemd.systemctl("start", "--no-block", before.target)
    else:
        app.current.unlink(missing_ok=True)
        durable.sync_folder(app.home)
    faults.point("rolled back")


def check_public(release: Release) -> None:
    """Ask through nginx, over HTTPS or, without a certificate, HTTP, until the release answers."""
    domain = release.app.parameters.domains[0]
    path = release.health_path

    def problem() -> str:
        over_tls = unit_states.ask(health.NginxConnection(domain), path, release.id).problem
        plain = (
            over_tls
            and unit_states.ask(health.NginxPlainConnection(domain), path, release.id).problem
        )
        return over_tls if plain else ""

    if found := _wait(problem, PUBLIC):
        raise ReleaseError(f"nginx is not serving release {release}: {found}.")


def answer_problem(release: Release) -> str:
    """Return what is wrong with a release's answer over its own socket, or nothing."""
    return unit_states.probe(release).problem


def _wait(problem: Callable[[], str], seconds: float) -> str:
    """Look until there is no problem; return the last one if it stays."""
    deadline = time.monotonic() + seconds
    while (found := problem()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return found


def drain(socket: Path, seconds: float) -> None:
    """Wait until a socket has no connections, or the time is over."""
    _wait(lambda: "busy" if connections(socket) else "", seconds)


def connections(socket: Path) -> int:
    """Return how many connections a socket has, those still waiting to be accepted too.

    In /proc/net/unix a connection carries the path that it was made to, and no flags; the
    listening socket has the flag 0x10000 (SO_ACCEPTCON, man 5 proc). The kernel prints names as
    any app chose them, line breaks included: a line that one forges may be counted, which lets a
    drain take its whole time, and no more.
    """
    lines = SOCKETS.read_bytes().split(b"\n")
    fields = (line.split(None, 7) for line in lines)
    return sum(len(f) == 8 and f[3] == b"00000000" and f[7] == os.fsencode(socket) for f in fields)
