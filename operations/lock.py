"""One deploy at a time, from its first change to its last."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gevent
from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.connectors.ssh import SSHConnector

from operations.transport import lost

PROGRAM = Path(__file__).resolve().parent.parent / "onhost/onebox_release/lock.py"
BEAT = 1  # seconds between two signs of life
TAKEN = "locked"
LOCKED = 3  # exit code


@operation()
def held() -> Generator[StringCommand, None, None]:
    """Take the server's lock for the rest of this run; exit with code 3 where another has it.

    It changes nothing on the server: a process there holds the lock until this one ends.
    """
    if state.is_executing:
        _take()
    yield from ()


def _take() -> None:
    connector = host.connector
    if not isinstance(connector, SSHConnector) or not connector.client:
        raise PyinfraError("onebox deploys over SSH.")
    who = shlex.quote(f"{getpass.getuser()} at {socket.gethostname()}")
    sudo = "sudo -n " if host.data.get("_sudo") else ""
    command = f"{sudo}python3 -c {shlex.quote(PROGRAM.read_text())} {who}"
    stdin, stdout, stderr = connector.client.exec_command(command)
    answer = stdout.readline().strip()
    if answer != TAKEN:
        logger.error(f"{host.print_prefix}{answer or stderr.read().decode().strip()}")
        sys.stdout.flush()
        os._exit(LOCKED)  # at once: nothing was begun, and the connection's own end is a traceback
    gevent.spawn(_beat, host, stdin, stdout.channel)


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
