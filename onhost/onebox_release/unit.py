"""A deploy runs in a unit of its own: two can't run, and a cut connection doesn't stop one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from . import systemd
from .errors import LockedError
from .places import Places
from .report import say

PROGRAM = "/usr/local/bin/onebox-release"
INSIDE = "--inside"  # says that the command runs in its unit already
LOOK = 0.05  # seconds between two looks at the progress


def run(places: Places, arguments: list[str]) -> int:
    """Run this program with these arguments in the app's unit; return its exit code.

    What it says is followed here. If this process ends, by a cut connection say, the unit goes
    on. Whatever ends the unit, systemd then has `recover` put things straight.

    Raises LockedError where the unit is running already.
    """
    if systemd.is_active(places.unit):
        raise LockedError(
            f"A deploy of {places.app} is under way on this server. Follow it:"
            f" tail -f {places.progress}"
        )
    places.progress.write_text("")
    properties = {
        "Type": "exec",
        "StandardError": f"append:{places.progress}",
        "ExecStopPost": f"{PROGRAM} recover {places.app} {INSIDE}",
        "TimeoutStopSec": "infinity",
        "SyslogIdentifier": "onebox-release",
    }
    options = [f"--property={name}={value}" for name, value in properties.items()]
    command = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={places.unit}", *options]
    with subprocess.Popen([*command, PROGRAM, *arguments, INSIDE]) as process:
        try:
            _follow(places.progress, process)
        except KeyboardInterrupt:
            say(f"The server goes on by itself. Follow it: tail -f {places.progress}")
            process.kill()
    return process.returncode


def _follow(path: Path, process: subprocess.Popen[bytes]) -> None:
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
