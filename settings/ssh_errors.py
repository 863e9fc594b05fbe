"""Why there is no SSH connection, in one sentence with the fix."""

from __future__ import annotations

import errno
import socket
from traceback import walk_tb

from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
)

PORT = 22
Explained = tuple[str, str]
"""A cause and its fix; {user}, {address}, {ssh} and {entry} are filled in."""
PASSPHRASE = "the private key has a passphrase", "add the key to your agent: `ssh-add`"
NO_ROUTE = "there is no route to it", "correct `address`, or your own network"
# The first that fits.
BY_TYPE: list[tuple[type[BaseException], Explained]] = [
    (
        BadHostKeyException,
        (
            "its host key is not the one in known_hosts",
            "run `ssh-keygen -R {entry}` if it was installed anew; else somebody may intercept you",
        ),
    ),
    (PasswordRequiredException, PASSPHRASE),
    (
        AuthenticationException,
        (
            "the server accepts none of your keys for the user {user}",
            "correct `ssh_user` or `ssh_key`, or add your key: `ssh-copy-id {user}@{address}`",
        ),
    ),
    (
        socket.gaierror,
        ("no address was found for that name", "correct `address` in the inventory"),
    ),
    (
        ConnectionRefusedError,
        (
            "nothing listens on that port",
            "set `ssh_port` to the port of its sshd, or start sshd there",
        ),
    ),
    (
        TimeoutError,
        (
            "no answer",
            "correct `address`; or start the server, or let your own address in at its firewall",
        ),
    ),
]
# By what paramiko and pyinfra say, in lower case.
BY_TEXT: list[tuple[tuple[str, ...], Explained]] = [
    (
        ("known_hosts",),
        (
            "its host key is not in known_hosts",
            "run {ssh} once, and compare the fingerprint that it shows with the server's console",
        ),
    ),
    (
        ("protocol banner",),
        (
            "what answers there does not speak SSH",
            "correct `address` or `ssh_port`; or wait a minute, if you failed to log in too often",
        ),
    ),
    (("encrypted", "passphrase"), PASSPHRASE),
    (
        ("no authentication methods", "no existing session"),
        ("no private key was found on this machine", "`ssh-add` one, or set `ssh_key`"),
    ),
    (("agent",), ("the SSH agent failed ({text})", "restart it, or set `ssh_key`")),
]


def unreachable(error: BaseException, address: str, user: str, port: int | None = None) -> str:
    """Return the sentence; without a port it is ssh_config's."""
    while isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    cause, fix = _explained(error)
    values = {
        "address": address,
        "user": user,
        "ssh": f"`ssh {f'-p {port} ' if port else ''}{user}@{address}`",
        "entry": f"[{address}]:{port}" if port not in {None, PORT} else address,
        "text": _text(error),
    }
    for name, value in values.items():
        cause, fix = cause.replace(f"{{{name}}}", value), fix.replace(f"{{{name}}}", value)
    at = f", port {port}" if port else ""
    return f"Can't connect to {user}@{address}{at}: {cause}. Fix: {fix}."


def _explained(error: BaseException) -> Explained:
    if isinstance(error, OSError) and error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return NO_ROUTE
    for kind, explained in BY_TYPE:
        if isinstance(error, kind):
            return explained
    text = _text(error).lower()
    if isinstance(error, EOFError):  # pyinfra asked something, and nobody was there to answer
        asked = {frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)}
        text = "known_hosts" if "missing_host_key" in asked else text
        text = "passphrase" if "_load_private_key_file" in asked else text
    for parts, explained in BY_TEXT:
        if any(part in text for part in parts):
            return explained
    return "{text}", "see what {ssh} says"


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
