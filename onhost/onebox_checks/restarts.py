"""Restart services that use replaced files, each by its least disruptive method.

A timer runs this in the maintenance window, never during a full deploy or a hold. A deploy of one
app is waited for; if it takes too long, only that app is skipped: a deploy key could otherwise
deploy continuously, and so keep the server on old libraries.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from onebox_release.app import PROGRAM, App
from onebox_release.core import release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import lock, systemd

from onebox_checks import libraries
from onebox_checks.configuration import Configuration

NGINX_PID = Path("/run/nginx.pid")
OLD_PID = Path("/run/nginx.pid.oldbin")  # of the old nginx during an upgrade
BUSY = 60  # seconds to wait for a deploy that has started meanwhile
PATIENCE = 10  # seconds for a new nginx to start beside the old one
# Services whose restart has no effect on users; for other services, only a reboot is known to be
# safe.
HARMLESS = (
    "chrony.service", "cron.service", "ssh.service", "systemd-journald.service",
    "systemd-timesyncd.service", "unattended-upgrades.service",
)  # fmt: skip


def run(settings: Configuration) -> int:
    """Restart stale services; return 0, or 1 if one could not be restarted."""
    lock.wait_for_switches(lock.WAIT, log)
    with lock.locked("the restart after updates") as reason:
        if reason:
            log(f"Nothing was restarted: {reason}")
            return 0
        found = libraries.stale()
        if busy := {*lock.switching()}:
            log(f"Not restarted, as a deploy is under way: {', '.join(sorted(busy))}")
        actions = [action for action in _restarts(settings, found) if action[0] not in busy]
        failed = [name for name, restart in actions if not _done(name, restart)]
    systemd.run_checks()
    return int(bool(failed))


def log(text: str) -> None:
    """Log to stderr, which is the journal in a unit."""
    print(text, file=sys.stderr)


def _restarts(
    settings: Configuration, found: dict[str, list[str]]
) -> list[tuple[str, Callable[[], object]]]:
    """Return how to restart each stale service: PostgreSQL before the apps, which reconnect."""
    actions: list[tuple[str, Callable[[], object]]] = [
        (unit, partial(systemd.systemctl, "restart", unit))
        for unit in found
        if unit.startswith("postgresql@") or unit in HARMLESS
    ]
    actions += [
        (app, partial(_release, app)) for app in settings.apps if _units(app) & found.keys()
    ]
    if "nginx.service" in found:
        actions.append(("nginx.service", _nginx))
    if "init.scope" in found:  # last, as it interrupts commands that wait for a unit
        actions.append(("systemd", partial(systemd.systemctl, "daemon-reexec")))
    return actions


def _units(name: str) -> set[str]:
    """Return the units of an app's live release; none if it has none."""
    app = App(name)
    release = app.live()
    try:
        return set(release_units.services(release)) if release else set()
    except (ReleaseError, ValueError, TypeError, KeyError):  # its parameters are missing or invalid
        return set()


def _done(name: str, restart: Callable[[], object]) -> bool:
    log(f"Restarting {name}: an update replaced files that it uses")
    try:
        restart()
    except (ReleaseError, OSError, ValueError) as error:
        log(f"{name}: {error}")
        return False
    return True


def _release(app: str) -> None:
    """Restart an app by a switch to its twin, so that no request fails."""
    result = subprocess.run([PROGRAM, "restart", app, "--wait", str(BUSY)], check=False)
    if result.returncode:
        raise ReleaseError(f"{PROGRAM} restart {app}: exit code {result.returncode}")


def _nginx() -> None:
    """Upgrade nginx on the fly: start a new one on the same sockets, then let the old one finish
    its requests (http://nginx.org/en/docs/control.html#upgrade)."""
    if (oldest := _pid(OLD_PID)) and Path(f"/proc/{oldest}").exists():
        # From the previous upgrade: it waits for clients, and nginx starts no third instance.
        os.kill(oldest, signal.SIGTERM)
        _await(
            lambda: not Path(f"/proc/{oldest}").exists(), "the previously replaced nginx still runs"
        )
    old = int(NGINX_PID.read_text())
    os.kill(old, signal.SIGUSR2)
    why = "the new nginx did not start; the old one serves. Read its log: journalctl -u nginx"
    _await(lambda: _pid(NGINX_PID) not in {old, 0}, why)
    time.sleep(1)  # its workers accept by then
    os.kill(old, signal.SIGQUIT)


def _await(is_so: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise ReleaseError(why)
        time.sleep(0.1)


def _pid(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
