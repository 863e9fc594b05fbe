"""The state of an app and its server, as JSON and as text."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from math import floor
from pathlib import Path
from typing import Any

from onebox_release.app import App, Release
from onebox_release.core import history, identity, maintenance, unit_states
from onebox_release.core.state import observe
from onebox_release.host import certificates, lock, problems, resources
from onebox_release.terminal import GREEN, RED, YELLOW, rows, size, when

REBOOT = Path("/run/reboot-required")
WELL = "ok"
OF_AN_APP = ("answer", "release", "certificate")  # checks


def gather(app: App) -> dict[str, Any]:
    """Return the state, for `status --json`. Sizes are in bytes."""
    serving, state = app.live(), observe(app)
    disk = os.statvfs(app.home)
    available, total = resources.memory()
    certificate, now = certificates.of_file(app.certificate), time.time()
    return {
        "live": state.live,
        "since": _since(serving) if serving else None,
        "health": _health(serving) if serving else None,
        "missing": state.missing,
        "up": state.up,
        "units": [
            {**asdict(each), "memory": resources.memory_of([each.unit])} for each in state.units
        ],
        "healthy": history.healthy(app),
        "deploying": state.deploying,
        "last": state.last,
        "maintenance": maintenance.since(app),
        "certificate_days": floor(certificate.left(now)) if certificate else None,
        "certificate_late": certificate is None or certificate.is_late(now),
        "disk": {"free": disk.f_bavail * disk.f_frsize, "total": disk.f_blocks * disk.f_frsize},
        "memory": {"available": available, "total": total},
        "lock": lock.holder(),
        "hold": json.loads(lock.HOLD.read_text()) if lock.HOLD.exists() else None,
        "reboot": REBOOT.exists(),
        "timers": state.timers,
        "problems": problems.read(),
    }


def for_key(app: App) -> dict[str, Any]:
    """Return the state for a deploy key: only its app's, without other deployers' names and without
    the server's."""
    state = gather(app)
    kept = (
        "live", "since", "health", "missing", "up", "units", "healthy", "deploying", "last",
        "maintenance", "certificate_days", "timers",
    )  # fmt: skip
    data = {name: state[name] for name in kept}
    if data["last"]:
        data["last"] = {key: value for key, value in data["last"].items() if key != "who"}
    runs = {f"timer:{app.name}-{timer}" for timer in app.parameters.timers}
    own = {f"{check}:{app.name}" for check in OF_AN_APP} | runs
    problems = state["problems"] or {"at": None, "open": []}
    found = [{**each, "do": ""} for each in problems["open"] if each["key"] in own]
    return {**data, "hold": bool(state["hold"]), "problems": {**problems, "open": found}}


def render(app: str, data: dict[str, Any]) -> str:
    """Return the state as text for one screen."""
    name = ("app", f"{app} on {socket.gethostname()}", "")
    return rows([name, *_release(data), *_server(data)])


def _release(data: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if data["live"]:
        since = f", since {when(data['since'])} UTC" if data["since"] else ""
        yield "live", data["live"] + since, ""
        yield "health", data["health"], GREEN if data["health"] == WELL else RED
    else:
        missing = data["missing"]
        why = (
            f" (current points to release {missing}, which is missing: deploy again)"
            if missing
            else ""
        )
        yield "live", f"nothing{why}", RED
    for unit in data["units"]:
        worse = YELLOW if unit["restarts"] else ""
        text = f"{unit['state']}, {unit['restarts']} restarts, {size(unit['memory'])}"
        yield unit["process"], text, worse if unit["state"] == "active" else RED
    if data["maintenance"]:
        yield (
            "maintenance",
            f"clients get the maintenance page since {when(data['maintenance'])} UTC",
            YELLOW,
        )
    others = [release for release in data["healthy"] if release != data["live"]]
    yield "kept", ", ".join(others) or "nothing to roll back to", ""
    if (last := data["last"]) and last["result"] != "live":
        of = f" of {last['release']}" if last["release"] else _by(last.get("who"))
        yield "last", f"{last['what']}{of}: {last['result']}", YELLOW


def _server(data: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    days = data["certificate_days"]
    yield (
        "certificate",
        "none" if days is None else f"{days} days",
        RED if days is None or days < 1 else YELLOW if data["certificate_late"] else "",
    )
    for name, left in (("disk", "free"), ("memory", "available")):
        have, total = data[name][left], data[name]["total"]
        text = f"{size(have)} of {size(total)} {left}"
        yield name, text, YELLOW if have < resources.LOW * total else ""
    if data["hold"]:
        hold = data["hold"]
        yield (
            "deploys",
            f"on hold since {when(hold['at'])} UTC, by {hold['who']}: {hold['why']}",
            (YELLOW),
        )
    elif data["deploying"] or data["lock"]:
        yield "deploys", f"one is under way{_by(data['lock'])}", YELLOW
    else:
        yield "deploys", "not on hold", ""
    for problem in (data["problems"] or {}).get("open", []):
        yield "problem", problem["what"].split("\n")[0], RED
    yield "reboot", "needed" if data["reboot"] else "not needed", YELLOW if data["reboot"] else ""


def _health(release: Release) -> str:
    response = unit_states.probe(release)
    if not response.problem:
        return WELL
    return f"failing ({response.problem})" if response.status else f"down ({response.problem})"


def _by(who: str | None) -> str:
    return f", by {who}" if who else ""


def _since(serving: Release) -> str | None:
    release, entries = identity.original(serving).id, history.read(serving.app)
    times = [e["at"] for e in entries if e["release"] == release and e["result"] == "live"]
    return times[-1] if times else None
