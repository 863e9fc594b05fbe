"""Switch to another release without failed requests, and roll back if it is worse."""

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
WATCH_POLL = 0.5  # seconds between two checks of a live release
# nginx may resolve `current` just before the rename, and connect just after.
HANDOVER = 0.5
PUBLIC = 10  # seconds for nginx to serve the new release
MISSES = 3  # failed health checks in a row after which a live release is unhealthy
# A first release has no release to roll back to: its watch checks that its other processes start,
# which takes about as long as the web process took.
FIRST, FIRST_STARTS = 10, 2  # seconds at least; factor of the web process's start time


def switch(
    release: Release,
    *,
    can_roll_back: bool,
    patient: bool = False,
) -> None:
    """Start a release beside the live one, make it live when it is healthy, and watch it.

    `patient` is for a release that was live before: a slow start is not a failure. Raises
    ReleaseError if it fails. Only `current` decides what is stopped then, so that after any failure
    the release it points to serves.
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
        _go_live(release, seconds, access_log, cursor)
    except Exception as error:
        went_live = release.app.live() == release
        if went_live and (why := _reason_to_stay(before, error, can_roll_back)):
            raise ReleaseError(f"{describe(error)}\nIt stays live: {why}.") from error
        if not went_live:  # never live: it has no clients to drain
            stop(release)
            retire(release.app)
            raise
        _roll_back(release.app, before)
        retire(release.app)
        raise RolledBackError(describe(error)) from error


def _reason_to_stay(
    before: Release | None,
    error: Exception,
    can_roll_back: bool,  # noqa: FBT001
) -> str:
    """Return why an unhealthy live release is not rolled back, or ""."""
    if before is None:
        bad = isinstance(error, UnhealthyError)  # nginx reaches it: better than no release
        return "there is no previous release to roll back to" if bad else ""
    if not can_roll_back:
        return "the previous release might not work with the migrated database"
    problem = unit_states.live_problem(before)
    return f"the previous release {before} is unhealthy too ({problem})" if problem else ""


def retire(app: App) -> None:
    """Stop all releases except the live one, after their connections close or `drain` seconds."""
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
    """Stop processes of other releases that must not run beside this release's."""
    for other in {whose for _, whose in release_units.all_units(release.app)} - {release}:
        names = release_units.exclusive(release) | release_units.exclusive(other)
        own = release_units.processes(other)
        units = [other.unit(name) for name in sorted(names) if name in own]
        if up := [unit for unit in units if systemd.is_active(unit)]:
            systemd.systemctl("stop", *up)


def stop(release: Release) -> None:
    """Stop a release's units; each process has its unit's stop timeout."""
    processes = release_units.services(release)
    socket = release.web_socket
    systemd.systemctl("stop", release.target, *processes, socket)
    for unit in (*processes, socket):
        if systemd.show(unit, "ActiveState").get("ActiveState") == "failed":
            systemd.systemctl("reset-failed", unit)


def _start(release: Release, *, patient: bool, cursor: str) -> float:
    """Start the web process and wait until it is healthy; return the seconds that took."""
    log(f"Starting release {release}")
    started = time.monotonic()
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "--no-block", release.unit("web"))
    faults.point("started")
    starting.wait_until_ready(release, patient=patient, cursor=cursor)
    faults.point("settled")
    return time.monotonic() - started


def _go_live(release: Release, seconds: int, access_log: AccessLog, cursor: str) -> None:
    """Check that nginx serves the release, start all of its processes, and watch it."""
    check_public(release)
    stop_exclusive(release)
    systemd.systemctl("start", release.target)
    log(f"Release {release} is live")
    faults.point("joined")
    if seconds:
        _watch(release, seconds, access_log, cursor)
        faults.point("watched")


def _watch(release: Release, seconds: int, access_log: AccessLog, cursor: str) -> None:
    """Watch a release while the previous one still runs. Raises UnhealthyError if it is worse."""
    seconds = resources.watch_time(seconds, *resources.memory())
    log(f"Watching it for {seconds} s; this continues if you stop the command")
    before, misses, end = access_log.before(), 0, time.monotonic() + seconds
    units = release_units.services(release)
    while time.monotonic() < end:
        time.sleep(WATCH_POLL)
        problem = answer_problem(release)
        misses = misses + 1 if problem else 0
        since = access_log.since()
        if crashed := next((unit for unit in units if unit_states.crash(unit)), None):
            problem, misses = f"{crashed} died", MISSES
        elif since.is_worse_than(before):
            problem = f"{since.errors} of {since.total} requests failed"
            misses = MISSES
        if misses >= MISSES:
            lines = last_lines(systemd.journal(crashed or units[0], after=cursor))
            raise UnhealthyError(f"Release {release} became unhealthy: {problem}.\n{lines}")


def _roll_back(app: App, before: Release | None) -> None:
    """Make the previous release live again, by the same rename."""
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
    """Send requests through nginx, by HTTPS or else HTTP, until the release answers."""
    domain = release.app.parameters.domains[0]
    path = release.health_path

    def problem() -> str:
        over_tls = unit_states.ask(health.NginxConnection(domain), path, release.id).problem
        plain = (
            over_tls
            and unit_states.ask(health.NginxPlainConnection(domain), path, release.id).problem
        )
        return over_tls if plain else ""

    if found := _poll(problem, PUBLIC):
        raise ReleaseError(f"nginx is not serving release {release}: {found}.")


def answer_problem(release: Release) -> str:
    """Return the problem of a release's health check over its own socket, or ""."""
    return unit_states.probe(release).problem


def _poll(problem: Callable[[], str], seconds: float) -> str:
    """Poll until there is no problem; return the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := problem()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return found


def drain(socket: Path, seconds: float) -> None:
    """Wait until a socket has no connections, for at most `seconds`."""
    _poll(lambda: "busy" if connections(socket) else "", seconds)


def connections(socket: Path) -> int:
    """Return a socket's number of connections, including those waiting to be accepted.

    In /proc/net/unix a connection has the path it was made to, and no flags; the listening socket
    has the flag 0x10000 (SO_ACCEPTCON, man 5 proc). Names are printed raw, line breaks included, so
    an app can forge a line; that only makes a drain take its full time.
    """
    lines = SOCKETS.read_bytes().split(b"\n")
    fields = (line.split(None, 7) for line in lines)
    return sum(len(f) == 8 and f[3] == b"00000000" and f[7] == os.fsencode(socket) for f in fields)
