"""One deploy at a time, from its first change to its last."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.connectors.ssh import SSHConnector

from settings.transport import lost

PROGRAM = Path(__file__).resolve().parent.parent / "onhost/onebox_release/host/lock.py"
BEAT = 1  # seconds between two signs of life
TAKEN = "locked"
WAITING = re.compile(r"\. Waiting for at most \d+ s; ")
FAILED, LOCKED = 1, 3  # exit codes
WAIT, MOST = 600, 86_400  # seconds


def patience(host: Host) -> int:
    """Return the seconds to wait for another deploy: `--data wait=`, 10 minutes by default.

    Raises PyinfraError where that is no number of seconds.
    """
    value = str(host.data.get("wait", WAIT))
    if not (value.isascii() and value.isdigit() and int(value) <= MOST):
        raise PyinfraError(
            f"--data wait={value}: expected whole seconds from 0 to {MOST}, as in --data wait=600."
            " 0 does not wait."
        )
    return int(value)


@operation()
def held(apps: list[str]) -> Generator[StringCommand, None, None]:
    """Take the server's lock for the rest of this run; wait where another has it, and exit with
    code 3 where that takes too long. `apps` are those that this run is to release.

    It changes nothing on the server: a process there holds the lock until this one ends.
    """
    wait = patience(host)
    if state.is_executing:
        _take(wait, apps)
    yield from ()


def _take(wait: int, apps: list[str]) -> None:
    connector = host.connector
    if not isinstance(connector, SSHConnector) or not connector.client:
        raise PyinfraError("onebox deploys over SSH.")
    who = shlex.quote(f"{getpass.getuser()} at {socket.gethostname()}")
    sudo = "sudo -n " if host.data.get("_sudo") else ""
    arguments = shlex.join([str(wait), *apps])
    command = f"{sudo}python3 -c {shlex.quote(PROGRAM.read_text())} {who} {arguments}"
    stdin, stdout, stderr = connector.client.exec_command(command)
    gevent.spawn(_beat, host, stdin, stdout.channel)  # while this waits, too
    with _interruptible():
        while (answer := stdout.readline().strip()) != TAKEN:
            if not answer or stdout.channel.exit_status_ready() or not WAITING.search(answer):
                logger.error(f"{host.print_prefix}{answer or stderr.read().decode().strip()}")
                sys.stdout.flush()
                # At once: nothing was begun, and the connection's own end is a traceback.
                os._exit(LOCKED)
            logger.warning(f"{host.print_prefix}{answer}")
    disconnect = connector.disconnect

    def end() -> None:
        with suppress(OSError):  # then the server notes that the connection was lost
            stdin.write("end\n")
            stdin.flush()
        disconnect()

    connector.disconnect = end  # type: ignore[method-assign]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end the run at once: pyinfra would wait for this operation to end."""

    def end(*_: object) -> None:
        logger.error("Interrupted while waiting for another deploy. Nothing was begun.")
        sys.stdout.flush()
        os._exit(FAILED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _beat(host: Host, stdin: Any, channel: Any) -> None:
    """Show signs of life, and stop the run if the server has given the lock away."""
    while not channel.exit_status_ready():
        try:
            stdin.write("\n")
            stdin.flush()
        except OSError:
            break
        gevent.sleep(BEAT)
    if state.is_executing and not channel.get_transport().is_active():
        lost(host)
    if state.is_executing and channel.exit_status_ready():
        logger.error(
            "This machine was silent for too long, and the server gave the lock away."
            " Nothing is half done there; deploy again."
        )
        os._exit(LOCKED)  # at once: not one more change without the lock
