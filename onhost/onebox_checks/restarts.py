"""Bring what runs on replaced files onto the new ones, each in its own gentle way.

Run by a timer in the maintenance window. Never while a whole deploy runs or deploys are on hold.
The deploy of one app is waited for, and then keeps that app alone as it is: a deploy key could
begin one after the other, and so keep the server on old libraries.
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

from onebox_release.app import App
from onebox_release.core import release_units
from onebox_release.errors import ReleaseError
from onebox_release.host import lock, systemd

from onebox_checks import libraries
from onebox_checks.configuration import Configuration

RELEASE = "/usr/local/bin/onebox-release"
NGINX_PID = Path("/run/nginx.pid")
OLD_PID = Path("/run/nginx.pid.oldbin")  # of the one that hands over
BUSY = 60  # seconds to wait for a deploy that began meanwhile
PATIENCE = 10  # seconds for a new nginx to start beside the old one
# Nobody notices their restart; of the other services, only a reboot is known to be safe.
HARMLESS = (
    "chrony.service", "cron.service", "ssh.service", "systemd-journald.service",
    "systemd-timesyncd.service", "unattended-upgrades.service",
)  # fmt: skip


def run(settings: Configuration) -> int:
    """Restart what is stale; return 0, or 1 where something could not be restarted."""
    lock.wait_for_switches(lock.WAIT, log)
    with lock.locked("the restart after updates") as reason:
        if reason:
            log(f"Nothing is restarted: {reason}")
            return 0
        found = libraries.stale()
        if busy := {*lock.switching()}:
            log(f"Not restarted, as a deploy of it is under way: {', '.join(sorted(busy))}")
        ways = [way for way in _restarts(settings, found) if way[0] not in busy]
        failed = [name for name, restart in ways if not _done(name, restart)]
    systemd.run_checks()
    return int(bool(failed))


def log(text: str) -> None:
    """Log to the journal, or to whoever ran this."""
    print(text, file=sys.stderr)


def _restarts(
    settings: Configuration, found: dict[str, list[str]]
) -> list[tuple[str, Callable[[], object]]]:
    """Return how to restart each thing that is stale: PostgreSQL before the apps, which connect to
    it again."""
    ways: list[tuple[str, Callable[[], object]]] = [
        (unit, partial(systemd.systemctl, "restart", unit))
        for unit in found
        if unit.startswith("postgresql@") or unit in HARMLESS
    ]
    ways += [(app, partial(_release, app)) for app in settings.apps if _units(app) & found.keys()]
    if "nginx.service" in found:
        ways.append(("nginx.service", _nginx))
    if "init.scope" in found:  # last, for it cuts off whoever waits for a unit
        ways.append(("systemd", partial(systemd.systemctl, "daemon-reexec")))
    return ways


def _units(name: str) -> set[str]:
    """Return the units of an app's live release; none where it has none."""
    app = App(name)
    release = app.live()
    try:
        return set(release_units.services(release)) if release else set()
    except (ReleaseError, ValueError, TypeError, KeyError):  # no parameters that can be read
        return set()


def _done(name: str, restart: Callable[[], object]) -> bool:
    log(f"Restarting {name}: an update replaced files that it runs on")
    try:
        restart()
    except (ReleaseError, OSError, ValueError) as error:
        log(f"{name}: {error}")
        return False
    return True


def _release(app: str) -> None:
    """Restart an app through the switch, so that no request fails."""
    result = subprocess.run([RELEASE, "restart", app, "--wait", str(BUSY)], check=False)
    if result.returncode:
        raise ReleaseError(f"{RELEASE} restart {app}: exit code {result.returncode}")


def _nginx() -> None:
    """Start the new nginx beside the old one, on the same sockets; then the old one finishes what
    it is at (http://nginx.org/en/docs/control.html#upgrade)."""
    if (oldest := _pid(OLD_PID)) and Path(f"/proc/{oldest}").exists():
        # From the last time: it waits for clients, and no third one starts beside it.
        os.kill(oldest, signal.SIGTERM)
        _await(lambda: not Path(f"/proc/{oldest}").exists(), "the nginx before the last one stays")
    old = int(NGINX_PID.read_text())
    os.kill(old, signal.SIGUSR2)
    why = "no new nginx started; the old one serves. See journalctl -u nginx"
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
