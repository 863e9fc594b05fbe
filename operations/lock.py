"""The server's lock: one deploy at a time."""

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
from onebox_release.host.lock import WAIT as WAIT
from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.connectors.ssh import SSHConnector

from settings.exit_codes import FAILED, LOCKED
from settings.transport import lost

PROGRAM = Path(__file__).resolve().parent.parent / "onhost/onebox_release/host/lock.py"
HEARTBEAT = 1  # seconds between two heartbeats
ACQUIRED = "locked"
WAITING = re.compile(r"\. Waiting for at most \d+ s; ")
MAX_WAIT = 86_400  # seconds


def wait_seconds(host: Host) -> int:
    """Return the seconds to wait for another deploy: `--data wait=`, by default 600.

    Raises PyinfraError if it is no number of seconds.
    """
    value = str(host.data.get("wait", WAIT))
    if not (value.isascii() and value.isdigit() and int(value) <= MAX_WAIT):
        raise PyinfraError(
            f"--data wait={value}: expected whole seconds from 0 to {MAX_WAIT},"
            " as in --data wait=600. 0 does not wait."
        )
    return int(value)


@operation()
def acquire(apps: list[str]) -> Generator[StringCommand, None, None]:
    """Acquire the server's lock until the run ends; exit with code 3 if the wait is too long.

    A process on the server holds it, so nothing there changes. `apps` are those to release.
    """
    wait = wait_seconds(host)
    if state.is_executing:
        _acquire(wait, apps)
    yield from ()


def _acquire(wait: int, apps: list[str]) -> None:
    connector = host.connector
    if not isinstance(connector, SSHConnector) or not connector.client:
        raise PyinfraError("onebox deploys over SSH.")
    who = shlex.quote(f"{getpass.getuser()} at {socket.gethostname()}")
    sudo = "sudo -n " if host.data.get("_sudo") else ""
    arguments = shlex.join([str(wait), *apps])
    command = f"{sudo}python3 -c {shlex.quote(PROGRAM.read_text())} {who} {arguments}"
    stdin, stdout, stderr = connector.client.exec_command(command)
    gevent.spawn(_heartbeat, host, stdin, stdout.channel)  # during the wait, too
    with _interruptible():
        while (answer := stdout.readline().strip()) != ACQUIRED:
            if not answer or stdout.channel.exit_status_ready() or not WAITING.search(answer):
                _give_up(answer or stderr.read().decode().strip())
            logger.warning(f"{host.print_prefix}{answer}")
    _release_at_end(connector, stdin)


def _give_up(why: str) -> None:
    logger.error(f"{host.print_prefix}{why}")
    sys.stdout.flush()
    # Immediately: nothing has begun, and closing the connection prints a traceback.
    os._exit(LOCKED)


def _release_at_end(connector: SSHConnector, stdin: Any) -> None:
    """Have the connection's end release the lock."""
    disconnect = connector.disconnect

    def end() -> None:
        with suppress(OSError):  # then the server notices that the connection was lost
            stdin.write("end\n")
            stdin.flush()
        disconnect()

    connector.disconnect = end  # type: ignore[method-assign]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end the run immediately: pyinfra would wait for this operation to end."""

    def end(*_: object) -> None:
        logger.error("Interrupted while waiting for another deploy. Nothing was changed.")
        sys.stdout.flush()
        os._exit(FAILED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _heartbeat(host: Host, stdin: Any, channel: Any) -> None:
    """Send heartbeats, and end the run if the server released the lock."""
    while not channel.exit_status_ready():
        try:
            stdin.write("\n")
            stdin.flush()
        except OSError:
            break
        gevent.sleep(HEARTBEAT)
    if state.is_executing and not channel.get_transport().is_active():
        lost(host)
    if state.is_executing and channel.exit_status_ready():
        logger.error(
            "This machine sent no heartbeat for too long, so the server released the lock."
            " No change was left half done; deploy again."
        )
        os._exit(LOCKED)  # immediately: no further change without the lock
