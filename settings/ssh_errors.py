"""Errors of SSH connections as one sentence, with the fix."""

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
Explanation = tuple[str, str]
"""A cause and its fix; {user}, {address}, {ssh} and {entry} are filled in."""
PASSPHRASE = "the private key has a passphrase", "add the key to your agent: `ssh-add`"
NO_ROUTE = "there is no route to it", "correct `address`, or your own network"
# The first match counts.
BY_TYPE: list[tuple[type[BaseException], Explanation]] = [
    (
        BadHostKeyException,
        (
            "its host key is not the one in known_hosts",
            "if the server was reinstalled, run `ssh-keygen -R {entry}`; else it may be an attack",
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
        ("the host name does not resolve", "correct `address` in the inventory"),
    ),
    (
        ConnectionRefusedError,
        (
            "nothing listens on that port",
            "set `ssh_port` to the port of its sshd, or start sshd on the server",
        ),
    ),
    (
        TimeoutError,
        (
            "no answer",
            "correct `address`; or start the server, or allow your address in its firewall",
        ),
    ),
]
# By the messages of paramiko and pyinfra, in lower case.
BY_TEXT: list[tuple[tuple[str, ...], Explanation]] = [
    (
        ("known_hosts",),
        (
            "its host key is not in known_hosts",
            "run {ssh} once, and compare its fingerprint with the one on the server's console",
        ),
    ),
    (
        ("protocol banner",),
        (
            "the program on that port is not an SSH server",
            "correct `address` or `ssh_port`; or wait a minute after too many failed logins",
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
    """Return the sentence; without `port`, ssh_config decides it."""
    while isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    cause, fix = _explanation(error)
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


def _explanation(error: BaseException) -> Explanation:
    if isinstance(error, OSError) and error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return NO_ROUTE
    for kind, explanation in BY_TYPE:
        if isinstance(error, kind):
            return explanation
    text = _text(error).lower()
    if isinstance(error, EOFError):  # pyinfra prompted without a terminal
        functions = {frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)}
        text = "known_hosts" if "missing_host_key" in functions else text
        text = "passphrase" if "_load_private_key_file" in functions else text
    for parts, explanation in BY_TEXT:
        if any(part in text for part in parts):
            return explanation
    return "{text}", "run {ssh} for details"


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
