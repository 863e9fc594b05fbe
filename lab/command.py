"""Run another program: return its output, or raise a plain error."""

import subprocess
from pathlib import Path

from lab.errors import LabError

# The kernel kills such a child when we exit: a killed `up` leaves no `cp` running.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def run(*args: str | Path, text: str | None = None) -> str:
    """Run a program to its end and return its stdout; raise LabError with its stderr."""
    command = [str(arg) for arg in args]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise LabError(f"`{command[0]}` is not installed on this machine.") from missing
    if done.returncode != 0:
        error = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise LabError(f"`{' '.join(command)}` failed with status {done.returncode}: {error}")
    return done.stdout


def attempt(*args: str | Path) -> bool:
    """Run a program; return whether it succeeded."""
    command = [str(arg) for arg in args]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
