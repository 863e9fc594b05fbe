"""Run a deploy in a unit of its own: it runs once at a time, and survives a lost connection."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from onebox_release.app import PROGRAM, App
from onebox_release.core import requester
from onebox_release.errors import LockedError, ReleaseError
from onebox_release.host import lock, systemd
from onebox_release.install import credentials
from onebox_release.report import log

INSIDE = "--inside"  # marks a command that already runs in its unit
POLL = 0.05  # seconds between two reads of the progress


def run(
    app: App,
    arguments: list[str],
    *,
    recover: bool = True,
    wait: float = 0,
    secret: str = "",
    check: Callable[[], object] = lambda: None,
) -> int:
    """Run this program with these arguments in the app's unit; return its exit code.

    Its output is followed here. If this process ends, by a lost connection for example, the unit
    continues. Whenever the unit ends, systemd runs `recover` if `recover`. `secret` are credentials
    for the unit.

    Raises LockedError if the unit is still running after `wait` seconds, and what `check` raises,
    which is called every second until then.
    """
    deadline, reported = time.monotonic() + wait, -float(lock.EVERY)
    try:
        check()
        while (code := _run(app, arguments, recover=recover, secret=secret)) is None:
            now = time.monotonic()
            if now >= deadline:
                gave_up = f" Gave up after {wait:.0f} s." if wait else ""
                follow = f"Follow it: journalctl -fu {app.unit}"
                raise LockedError(f"{_under_way(app)}.{gave_up} {follow}")
            if now - reported >= lock.EVERY:
                log(f"{_under_way(app)}. Waiting for at most {deadline - now:.0f} s.")
                reported = now
            time.sleep(min(1, deadline - now))
            check()
    except KeyboardInterrupt:
        log("Nothing was changed.")
        return ReleaseError.code
    return code


def _run(app: App, arguments: list[str], *, recover: bool, secret: str) -> int | None:
    """Run it; return None if the unit is already running."""
    progress = app.progress(os.getpid())
    os.close(os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    properties = {
        "Type": "exec",
        "StandardError": f"append:{progress}",
        **({"ExecStopPost": f"{PROGRAM} recover {app.name} {INSIDE}"} if recover else {}),
        "TimeoutStopSec": "infinity",
        "SyslogIdentifier": "onebox-release",
    }
    if "deploy" in arguments[:1]:  # web requests have priority; a rollback is urgent
        properties["Nice"] = "5"
    options = [f"--property={name}={value}" for name, value in properties.items()]
    options.append(f"--setenv={requester.VARIABLE}={requester.requester()}")
    if secret:  # in a file per process, as others may wait for the unit too
        file = credentials.store(app, secret)
        options.append(f"--setenv={credentials.VARIABLE}={file}")
    command = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={app.unit}", *options]
    try:
        with subprocess.Popen(
            [*command, PROGRAM, *arguments, INSIDE], stderr=subprocess.PIPE, text=True
        ) as process:
            _follow(progress, process)
            errors = process.stderr.read() if process.stderr else ""
    except KeyboardInterrupt:
        log(f"The deploy continues on the server. Follow it: journalctl -fu {app.unit}")
        return ReleaseError.code
    finally:
        progress.unlink()
        if secret:
            file.unlink(missing_ok=True)  # if the unit did not take it
    if "already" in errors:  # systemd: the unit is already loaded, so a deploy is under way
        return None
    if errors:
        log(errors.strip())
    return process.returncode


def _under_way(app: App) -> str:
    """Return a message about the running unit: its requester and since when."""
    state = systemd.show(app.unit, "ActiveEnterTimestamp", "Environment")
    found = re.search(rf"{requester.VARIABLE}=([^\"]+)", state.get("Environment", ""))
    by = f" by {found[1].split(f' {credentials.VARIABLE}=')[0]}" if found else ""
    started = (state.get("ActiveEnterTimestamp") or "").removeprefix("@")
    age = f", for {lock.duration(time.time() - float(started))}" if started else ""
    return f"A deploy of {app.name}{by} is under way{age}"


def _follow(path: Path, process: subprocess.Popen[str]) -> None:
    """Print what is appended to a file, until a process ends."""
    with path.open() as file:
        ended = False
        while True:
            if text := file.read():
                print(text, end="", file=sys.stderr, flush=True)
            elif ended:
                return
            else:
                time.sleep(POLL)
            ended = process.poll() is not None
