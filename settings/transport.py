"""The deployer's SSH connections: their options, and messages if one fails or breaks."""

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

from settings.exit_codes import FAILED, REFUSED
from settings.ssh_errors import unreachable

if TYPE_CHECKING:
    from pyinfra.api.host import Host

ACK_TIMEOUT = 60  # seconds without an acknowledgement after which a connection is lost
CONNECTION_ERRORS = (SSHException, EOFError, OSError)
# pyinfra's messages about host keys, which `unreachable` replaces.
HOST_KEY_MESSAGES = (
    "WARNING: REMOTE HOST",
    "Someone could be",
    "If this is expected",
    "    ssh-keygen",
)
REJECTED = "No host key"  # as an error; the same text as a warning says that it was accepted

# paramiko's threads would print tracebacks of exceptions that are also raised.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def no_delay(sock: Any, **kwargs: Any) -> Transport:
    """Return a transport without Nagle's algorithm.

    A command then costs one round trip: 4 ms instead of 47 ms, measured on a local link, because
    paramiko's small packets no longer wait for the delayed acknowledgement of the last one.
    """
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere it takes up to 15 minutes
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ACK_TIMEOUT * 1000)
    return Transport(sock, **kwargs)


def configure_pyinfra() -> None:
    """Patch pyinfra's SSH connector, which has no setting for its messages."""
    from pyinfra.connectors.ssh import SSHConnector

    if not hasattr(SSHConnector, "has_onebox_messages"):
        SSHConnector.has_onebox_messages = True  # type: ignore[attr-defined]
        setattr(SSHConnector, "connect", _explain_failures(SSHConnector.connect))  # noqa: B010
        for name in ("run_shell_command", "put_file", "get_file"):
            setattr(SSHConnector, name, _stop_if_lost(getattr(SSHConnector, name)))


def _explain_failures(connect: Callable[[Any], None]) -> Callable[[Any], None]:
    from pyinfra.api.exceptions import ConnectError, PyinfraError

    @wraps(connect)
    def wrapper(connector: Any) -> None:
        data = connector.host.data
        if unedited := data.get("unedited"):
            _stop(unedited, REFUSED)
        try:
            with _without_host_key_messages(logging.getLogger("pyinfra")):
                connect(connector)
        except PyinfraError as error:
            cause = error.__context__ if isinstance(error, ConnectError) else error
            text = unreachable(
                cause or error, connector.host.name, data.get("ssh_user"), data.get("ssh_port")
            )
            raise ConnectError(text) from None

    return wrapper


@contextmanager
def _without_host_key_messages(logger: logging.Logger) -> Iterator[None]:
    def is_kept(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_rejected = record.levelno >= logging.ERROR and text.startswith(REJECTED)
        return not (is_rejected or text.startswith(HOST_KEY_MESSAGES))

    logger.addFilter(is_kept)
    try:
        yield
    finally:
        logger.removeFilter(is_kept)


def _stop_if_lost(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def wrapper(connector: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = call(connector, *args, **kwargs)
        except CONNECTION_ERRORS:
            if is_lost(connector):
                lost(connector.host)
            raise
        if is_lost(connector):  # then there was no exit code
            lost(connector.host)
        return result

    return wrapper


def is_lost(connector: Any) -> bool:
    """Return whether an established connection is no longer active."""
    transport = connector.client.get_transport() if connector.client else None
    return bool(connector.client) and not (transport and transport.is_active())


def lost(host: Host) -> NoReturn:
    """End the run because the connection was lost, and print what to do."""
    _stop(
        f"The connection to {host.name} was lost. If the server is up, a release that had started"
        " continues on it; nothing else does. Check `fab status` and `fab history`, then deploy"
        " again.",
        FAILED,
    )


def _stop(message: str, code: int) -> NoReturn:
    """End at once: pyinfra would continue with its next operation, and end with a traceback."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(code)
