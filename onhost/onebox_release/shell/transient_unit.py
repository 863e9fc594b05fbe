"""A deploy runs in a unit of its own: two can't run, and a cut connection doesn't stop one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from onebox_release.app import App
from onebox_release.core import requester
from onebox_release.errors import LockedError, ReleaseError
from onebox_release.host import lock, systemd
from onebox_release.install import credentials
from onebox_release.report import log

PROGRAM = "/usr/local/bin/onebox-release"
INSIDE = "--inside"  # says that the command runs in its unit already
LOOK = 0.05  # seconds between two looks at the progress


def run(
    app: App,
    arguments: list[str],
    *,
    mend: bool = True,
    wait: float = 0,
    secret: str = "",
    check: Callable[[], object] = lambda: None,
) -> int:
    """Run this program with these arguments in the app's unit; return its exit code.

    What it says is followed here. If this process ends, by a cut connection say, the unit goes
    on. Whatever ends the unit, systemd then has `recover` put things straight, if it may `mend`.
    `secret` are credentials that the unit takes over.

    Raises LockedError where the unit is running already, and goes on to for `wait` seconds; and
    what `check` raises, which is called every second until then.
    """
    deadline, said = time.monotonic() + wait, -float(lock.EVERY)
    try:
        check()
        while (code := _run(app, arguments, mend=mend, secret=secret)) is None:
            now = time.monotonic()
            if now >= deadline:
                gave_up = f" Gave up after {wait:.0f} s." if wait else ""
                follow = f"Follow it: journalctl -fu {app.unit}"
                raise LockedError(f"{_under_way(app)}.{gave_up} {follow}")
            if now - said >= lock.EVERY:
                log(f"{_under_way(app)}. Waiting for at most {deadline - now:.0f} s.")
                said = now
            time.sleep(min(1, deadline - now))
            check()
    except KeyboardInterrupt:
        log("Nothing was changed.")
        return ReleaseError.code
    return code


def _run(app: App, arguments: list[str], *, mend: bool, secret: str) -> int | None:
    """Do so, unless the unit is running: then return None."""
    progress = app.progress(os.getpid())
    os.close(os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    properties = {
        "Type": "exec",
        "StandardError": f"append:{progress}",
        **({"ExecStopPost": f"{PROGRAM} recover {app.name} {INSIDE}"} if mend else {}),
        "TimeoutStopSec": "infinity",
        "SyslogIdentifier": "onebox-release",
    }
    if "deploy" in arguments[:1]:  # requests first; a rollback is wanted at once
        properties["Nice"] = "5"
    options = [f"--property={name}={value}" for name, value in properties.items()]
    options.append(f"--setenv={requester.VARIABLE}={requester.requester()}")
    if secret:  # in a file of its own: others may wait for the unit, too
        file = credentials.store(app, secret)
        options.append(f"--setenv={credentials.VARIABLE}={file}")
    command = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={app.unit}", *options]
    try:
        with subprocess.Popen(
            [*command, PROGRAM, *arguments, INSIDE], stderr=subprocess.PIPE, text=True
        ) as process:
            _follow(progress, process)
            told = process.stderr.read() if process.stderr else ""
    except KeyboardInterrupt:
        log(f"The server goes on by itself. Follow it: journalctl -fu {app.unit}")
        return ReleaseError.code
    finally:
        progress.unlink()
        if secret:
            file.unlink(missing_ok=True)  # where the unit never got so far
    if "already" in told:  # loaded: systemd has a unit of this name, so a deploy is under way
        return None
    if told:
        log(told.strip())
    return process.returncode


def _under_way(app: App) -> str:
    """Return what the app's unit is at, since when, and for whom."""
    state = systemd.show(app.unit, "ActiveEnterTimestamp", "Environment")
    found = re.search(rf"{requester.VARIABLE}=([^\"]+)", state.get("Environment", ""))
    by = f" by {found[1].split(f' {credentials.VARIABLE}=')[0]}" if found else ""
    begun = (state.get("ActiveEnterTimestamp") or "").removeprefix("@")
    age = f", for {lock.duration(time.time() - float(begun))}" if begun else ""
    return f"A deploy of {app.name}{by} is under way{age}"


def _follow(path: Path, process: subprocess.Popen[str]) -> None:
    """Copy what is written to a file, until a process ends."""
    with path.open() as file:
        ended = False
        while True:
            if text := file.read():
                print(text, end="", file=sys.stderr, flush=True)
            elif ended:
                return
            else:
                time.sleep(LOOK)
            ended = process.poll() is not None
