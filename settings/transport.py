"""How the deployer's SSH connections are made, and what is said where one fails or breaks."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

from paramiko import Transport
from paramiko.ssh_exception import SSHException

from settings.ssh_errors import unreachable

if TYPE_CHECKING:
    from pyinfra.api.host import Host

FAILED, REFUSED = 1, 4  # exit codes
SILENCE = 60  # seconds without an acknowledgement after which a connection has broken
DEAD = (SSHException, EOFError, OSError)
# pyinfra's own lines on a host key, which the sentence replaces.
TOLD = (
    "WARNING: REMOTE HOST",
    "Someone could be",
    "If this is expected",
    "    ssh-keygen",
)
REJECTED = "No host key"  # as an error; as a warning it was accepted, and a person should know

# paramiko's threads would print tracebacks; what they met is raised, too.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def no_delay(sock: Any, **kwargs: Any) -> Transport:
    """Return a transport without Nagle's algorithm.

    A command then costs one round trip: 4 ms instead of 47 ms, measured on a local link, because
    paramiko's small packets no longer wait for the delayed acknowledgement of the one before.
    """
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; else it takes up to 15 minutes
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
    return Transport(sock, **kwargs)


def worded() -> None:
    """Have pyinfra tell of connections as above: it has no other place to say how."""
    from pyinfra.connectors.ssh import SSHConnector

    if not hasattr(SSHConnector, "of_onebox"):
        SSHConnector.of_onebox = True  # type: ignore[attr-defined]
        setattr(SSHConnector, "connect", _connecting(SSHConnector.connect))  # noqa: B010
        for name in ("run_shell_command", "put_file", "get_file"):
            setattr(SSHConnector, name, _watched(getattr(SSHConnector, name)))


def _connecting(connect: Callable[[Any], None]) -> Callable[[Any], None]:
    from pyinfra.api.exceptions import ConnectError, PyinfraError

    @wraps(connect)
    def worded(connector: Any) -> None:
        data = connector.host.data
        if unedited := data.get("unedited"):
            _stop(unedited, REFUSED)
        try:
            with _quiet(logging.getLogger("pyinfra")):
                connect(connector)
        except PyinfraError as error:
            why = error.__context__ if isinstance(error, ConnectError) else error
            text = unreachable(
                why or error, connector.host.name, data.get("ssh_user"), data.get("ssh_port")
            )
            raise ConnectError(text) from None

    return worded


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    def kept(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_rejected = record.levelno >= logging.ERROR and text.startswith(REJECTED)
        return not (is_rejected or text.startswith(TOLD))

    logger.addFilter(kept)
    try:
        yield
    finally:
        logger.removeFilter(kept)


def _watched(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def watched(connector: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = call(connector, *args, **kwargs)
        except DEAD:
            if is_lost(connector):
                lost(connector.host)
            raise
        if is_lost(connector):  # then there was no exit code
            lost(connector.host)
        return result

    return watched


def is_lost(connector: Any) -> bool:
    """Tell whether a connection that was made is there no more."""
    transport = connector.client.get_transport() if connector.client else None
    return bool(connector.client) and not (transport and transport.is_active())


def lost(host: Host) -> NoReturn:
    """End the run with what a person should know where the connection broke."""
    _stop(
        f"The connection to {host.name} broke. A release that was begun goes on there by itself,"
        " and nothing else. See `fab status` and `fab history`; then deploy again.",
        FAILED,
    )


def _stop(message: str, code: int) -> NoReturn:
    """End at once: pyinfra would go on to its next operation, and end in a traceback."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(code)
