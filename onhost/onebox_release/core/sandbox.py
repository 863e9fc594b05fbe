"""Run a command beside the live release: in its folder, environment and sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from onebox_release.app import App, Release
from onebox_release.core.hooks import environment_quote
from onebox_release.errors import RefusedError
from onebox_release.host import durable, systemd

# No startup file of the app runs on the administrator's terminal, and no history file keeps what is
# typed.
SHELL = ["/usr/bin/env", "HISTFILE=/dev/null", "/bin/bash", "--norc"]
# The command is not in the argument list, which systemd logs and other users can read.
EVAL = 'eval "unset ONEBOX_RUN; $ONEBOX_RUN"'
# Settings of the web process that a command does not share.
TERMINALS = "InaccessiblePaths=-/dev/pts"  # a command needs its own terminal
OWN = ("Type", "ExecStart", "Restart", "RestartSec", "TimeoutStartSec", "KillMode")


def run(app: App, command: str) -> int:
    """Run a shell command line, or a shell without one; return its exit code.

    User, folder and sandbox come from the unit of the live release's web process.
    """
    release = app.live()
    if release is None:
        raise RefusedError(f"No release of {app.name} is live. Deploy first.")
    unit = f"onebox-run-{app.name}@{os.getpid()}.service"
    file = app.command(str(os.getpid()))
    terminal = "--pty" if sys.stdin.isatty() and sys.stdout.isatty() else "--pipe"
    options = [f"--property={line}" for line in properties(release)]
    if "TERM" in os.environ:
        options.append(f"--setenv=TERM={os.environ['TERM']}")
    if command:
        durable.write(file, f"ONEBOX_RUN={environment_quote(command)}\n")
        options.append(f"--property=EnvironmentFile={file}")
    shell = ["/bin/sh", "-c", EVAL.replace("$", "$$")] if command else SHELL
    start = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={unit}", terminal]
    try:
        return subprocess.run([*start, *options, *shell], check=False).returncode
    except KeyboardInterrupt:
        systemd.systemctl("stop", unit)
        return 130
    finally:
        file.unlink(missing_ok=True)


def store_command(app: App, token: str, command: str) -> None:
    """Store a command from standard input for `take_command`: it may contain a secret."""
    durable.write(app.command(token), command)


def take_command(app: App, token: str) -> str:
    """Return a stored command and delete it. Raises RefusedError if there is none."""
    path = app.command(token)
    try:
        command = path.read_text()
    except FileNotFoundError:
        raise RefusedError(f"{path} does not exist: no command was stored.") from None
    path.unlink()
    return command


def properties(release: Release) -> Iterator[str]:
    """Yield the web unit's settings of user, folder and sandbox."""
    own = release.app.units_folder / release.unit("web")
    unit = own if own.is_file() else release.app.web_unit
    text = unit.read_text().partition("[Service]")[2]
    for line in text.splitlines():
        key, is_setting, _ = line.partition("=")
        if is_setting and not line.startswith("#") and key not in OWN and line != TERMINALS:
            yield line.replace("%i", release.id)
