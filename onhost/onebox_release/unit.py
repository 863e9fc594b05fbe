"""A deploy runs in a unit of its own: two can't run, and a cut connection doesn't stop one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from . import who
from .errors import LockedError, ReleaseError
from .places import Places
from .report import say

PROGRAM = "/usr/local/bin/onebox-release"
INSIDE = "--inside"  # says that the command runs in its unit already
LOOK = 0.05  # seconds between two looks at the progress


def run(places: Places, arguments: list[str], *, mend: bool = True) -> int:
    """Run this program with these arguments in the app's unit; return its exit code.

    What it says is followed here. If this process ends, by a cut connection say, the unit goes
    on. Whatever ends the unit, systemd then has `recover` put things straight, if it may `mend`.

    Raises LockedError where the unit is running already.
    """
    progress = places.progress(os.getpid())
    os.close(os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    properties = {
        "Type": "exec",
        "StandardError": f"append:{progress}",
        **({"ExecStopPost": f"{PROGRAM} recover {places.app} {INSIDE}"} if mend else {}),
        "TimeoutStopSec": "infinity",
        "SyslogIdentifier": "onebox-release",
    }
    options = [f"--property={name}={value}" for name, value in properties.items()]
    options.append(f"--setenv={who.VARIABLE}={who.who()}")
    command = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={places.unit}", *options]
    try:
        with subprocess.Popen(
            [*command, PROGRAM, *arguments, INSIDE], stderr=subprocess.PIPE, text=True
        ) as process:
            _follow(progress, process)
            told = process.stderr.read() if process.stderr else ""
    except KeyboardInterrupt:
        say(f"The server goes on by itself. Follow it: journalctl -fu {places.unit}")
        return ReleaseError.code
    finally:
        progress.unlink()
        places.credentials.unlink(missing_ok=True)  # where the unit never got so far
    if "already" in told:  # loaded: systemd has a unit of this name, so a deploy is under way
        raise LockedError(
            f"A deploy of {places.app} is under way. Follow it: journalctl -fu {places.unit}"
        )
    if told:
        say(told.strip())
    return process.returncode


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
