"""The state of an app and its server, as JSON and as text."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import floor
from pathlib import Path
from typing import Any

from onebox_release.app import App, Release
from onebox_release.core import history, identity, maintenance, state, timers, unit_states
from onebox_release.host import certificates, lock, problems, resources
from onebox_release.terminal import GREEN, RED, YELLOW, rows, size, when

REBOOT = Path("/run/reboot-required")
WELL = "ok"
OF_AN_APP = ("answer", "release", "certificate")  # checks


@dataclass(frozen=True)
class Unit(state.Unit):
    """A process of the live release, with its memory in bytes."""

    memory: int


@dataclass(frozen=True)
class Disk:
    """The disk of the apps, in bytes."""

    free: int
    total: int


@dataclass(frozen=True)
class Memory:
    """The server's memory, in bytes."""

    available: int
    total: int


@dataclass(frozen=True)
class AppStatus:
    """The state of an app, as a deploy key gets it. Times are ISO 8601 in UTC."""

    live: str | None
    since: str | None
    health: str | None
    """WELL, or what is wrong; None if no release is live."""
    missing: str | None
    """The release that `current` points to, if it does not exist."""
    up: list[str]
    units: list[Unit]
    healthy: list[str]
    """The releases to roll back to, and the live one."""
    deploying: bool
    paused: bool
    last: history.Entry | None
    maintenance: str | None
    """When it was turned on."""
    certificate_days: int | None
    certificate_late: bool
    timers: dict[str, timers.Run]


@dataclass(frozen=True)
class Status(AppStatus):
    """The state of an app and its server."""

    disk: Disk
    memory: Memory
    lock: str | None
    """Who deploys now."""
    hold: dict[str, str] | None
    reboot: bool
    """Whether an update needs one."""
    problems: dict[str, Any] | None
    """When the checks last ran, and the open problems."""


def gather(app: App) -> Status:
    """Return the state, for `status --json`."""
    serving, entries = app.live(), history.read(app)
    current = state.observe(app, serving, entries)
    disk = os.statvfs(app.home)
    certificate, now = certificates.of_file(app.certificate), time.time()
    return Status(
        live=current.live,
        since=_since(serving, entries) if serving else None,
        health=_health(serving) if serving else None,
        missing=current.missing,
        up=current.up,
        units=[Unit(**asdict(u), memory=resources.memory_of([u.unit])) for u in current.units],
        healthy=history.healthy(app),
        deploying=current.deploying,
        paused=current.paused,
        last=current.last,
        maintenance=maintenance.since(app),
        certificate_days=floor(certificate.left(now)) if certificate else None,
        certificate_late=certificate is None or certificate.is_late(now),
        timers=current.timers,
        disk=Disk(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize),
        memory=Memory(*resources.memory()),
        lock=lock.holder(),
        hold=json.loads(lock.HOLD.read_text()) if lock.HOLD.exists() else None,
        reboot=REBOOT.exists(),
        problems=problems.read(),
    )


def for_key(app: App) -> dict[str, Any]:
    """Return the state for a deploy key: only its app's, without other deployers' names and without
    the server's."""
    status = gather(app)
    data = {each.name: getattr(status, each.name) for each in fields(AppStatus)}
    data["units"] = [asdict(unit) for unit in status.units]
    if status.last:
        data["last"] = {key: value for key, value in status.last.items() if key != "who"}
    runs = {f"timer:{app.name}-{timer}" for timer in app.parameters.timers}
    own = {f"{check}:{app.name}" for check in OF_AN_APP} | runs
    problems = status.problems or {"at": None, "open": []}
    found = [{**each, "do": ""} for each in problems["open"] if each["key"] in own]
    return {**data, "hold": bool(status.hold), "problems": {**problems, "open": found}}


def render(app: str, status: Status) -> str:
    """Return the state as text for one screen."""
    name = ("app", f"{app} on {socket.gethostname()}", "")
    return rows([name, *_release(status), *_server(status)])


def _release(status: Status) -> Iterator[tuple[str, str, str]]:
    if status.live:
        since = f", since {when(status.since)} UTC" if status.since else ""
        yield "live", status.live + since, ""
        yield "health", status.health or "", GREEN if status.health == WELL else RED
    else:
        missing = status.missing
        why = (
            f" (current points to release {missing}, which is missing: deploy again)"
            if missing
            else ""
        )
        yield "live", f"nothing{why}", RED
    for unit in status.units:
        worse = YELLOW if unit.restarts else ""
        text = f"{unit.state}, {unit.restarts} restarts, {size(unit.memory)}"
        yield unit.process, text, worse if unit.state == "active" else RED
    if status.paused:
        yield "paused", "timers do not run; processes only if a deploy started them", YELLOW
    if status.maintenance:
        since = when(status.maintenance)
        yield "maintenance", f"clients get the maintenance page since {since} UTC", YELLOW
    others = [release for release in status.healthy if release != status.live]
    yield "kept", ", ".join(others) or "nothing to roll back to", ""
    if (last := status.last) and last["result"] != history.SUCCEEDED:
        of = f" of {last['release']}" if last["release"] else _by(last.get("who"))
        yield "last", f"{last['what']}{of}: {last['result']}", YELLOW


def _server(status: Status) -> Iterator[tuple[str, str, str]]:
    days = status.certificate_days
    yield (
        "certificate",
        "none" if days is None else f"{days} days",
        RED if days is None or days < 1 else YELLOW if status.certificate_late else "",
    )
    for name, left, total, word in (
        ("disk", status.disk.free, status.disk.total, "free"),
        ("memory", status.memory.available, status.memory.total, "available"),
    ):
        low = left < resources.LOW * total
        yield name, f"{size(left)} of {size(total)} {word}", YELLOW if low else ""
    if hold := status.hold:
        text = f"on hold since {when(hold['at'])} UTC, by {hold['who']}: {hold['why']}"
        yield "deploys", text, YELLOW
    elif status.deploying or status.lock:
        yield "deploys", f"one is under way{_by(status.lock)}", YELLOW
    else:
        yield "deploys", "not on hold", ""
    for problem in (status.problems or {}).get("open", []):
        yield "problem", problem["what"].split("\n")[0], RED
    yield "reboot", "needed" if status.reboot else "not needed", YELLOW if status.reboot else ""


def _health(release: Release) -> str:
    response = unit_states.probe(release)
    if not response.problem:
        return WELL
    return f"failing ({response.problem})" if response.status else f"down ({response.problem})"


def _by(who: str | None) -> str:
    return f", by {who}" if who else ""


def _since(serving: Release, entries: list[history.Entry]) -> str | None:
    release = identity.original(serving).id
    times = [
        e["at"] for e in entries if e["release"] == release and e["result"] == history.SUCCEEDED
    ]
    return times[-1] if times else None
