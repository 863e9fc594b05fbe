"""Why there is no SSH connection: one sentence for each kind, with the fix."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest
from paramiko import PKey
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)
from pyinfra.connectors.ssh_util import _load_private_key_file
from pyinfra.connectors.sshuserclient.client import AskPolicy

from settings.ssh_errors import unreachable

CASES: dict[str, tuple[BaseException, str, str]] = {
    "an unknown name": (
        socket.gaierror(-2, "Name or service not known"),
        "the host name does not resolve",
        "correct `address` in the inventory",
    ),
    "refused": (
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        "nothing listens on that port",
        "set `ssh_port` to the port of its sshd, or start sshd on the server",
    ),
    "refused, in paramiko's words": (
        NoValidConnectionsError({("127.0.0.1", 22): ConnectionRefusedError()}),
        "nothing listens on that port",
        "set `ssh_port` to the port of its sshd, or start sshd on the server",
    ),
    "timed out": (
        TimeoutError("timed out"),
        "no answer",
        "correct `address`; or start the server, or allow your address in its firewall",
    ),
    "no route": (
        OSError(errno.EHOSTUNREACH, "No route to host"),
        "there is no route to it",
        "correct `address`, or your own network",
    ),
    "a wrong key or user": (
        AuthenticationException("Authentication failed."),
        "the server accepts none of your keys for the user admin",
        "correct `ssh_user` or `ssh_key`, or add your key: `ssh-copy-id admin@box`",
    ),
    "a passphrase": (
        PasswordRequiredException("Private key file is encrypted"),
        "the private key has a passphrase",
        "add the key to your agent: `ssh-add`",
    ),
    "a passphrase, in pyinfra's words": (
        Exception("Private key file (x) is encrypted, set ssh_key_password to use this key"),
        "the private key has a passphrase",
        "add the key to your agent: `ssh-add`",
    ),
    "no key at all": (
        SSHException("No authentication methods available"),
        "no private key was found on this machine",
        "`ssh-add` one, or set `ssh_key`",
    ),
    "an agent that has gone": (
        SSHException("lost ssh-agent"),
        "the SSH agent failed (lost ssh-agent)",
        "restart it, or set `ssh_key`",
    ),
    "an unknown host key": (
        SSHException("Server '[box]:2222' not found in known_hosts"),
        "its host key is not in known_hosts",
        ("run `ssh -p 2222 admin@box` once, and compare its fingerprint with the one on the"
        " server's console"),
    ),
    "a changed host key": (
        BadHostKeyException("box", PKey(), PKey()),
        "its host key is not the one in known_hosts",
        "if the server was reinstalled, run `ssh-keygen -R [box]:2222`; else it may be an attack",
    ),
    "no SSH": (
        SSHException("Error reading SSH protocol banner"),
        "the program on that port is not an SSH server",
        "correct `address` or `ssh_port`; or wait a minute after too many failed logins",
    ),
    "anything else": (
        SSHException("Incompatible ssh peer\n(no acceptable kex algorithm)"),
        "Incompatible ssh peer (no acceptable kex algorithm)",
        "run `ssh -p 2222 admin@box` for details",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "cause", "fix"), CASES.values(), ids=CASES)
def test_each_kind_is_one_sentence_with_the_fix(error: Exception, cause: str, fix: str) -> None:
    message = unreachable(error, "box", "admin", 2222)
    assert message == f"Can't connect to admin@box, port 2222: {cause}. Fix: {fix}."


def test_without_a_port_it_is_ssh_configs() -> None:
    message = unreachable(SSHException("x"), "box", "root")
    assert message == "Can't connect to root@box: x. Fix: run `ssh root@box` for details."


def nobody(*_: object) -> str:
    raise EOFError("EOF when reading a line")


def encrypted(*_: object, **__: object) -> PKey:
    raise PasswordRequiredException("x")


def ask_for_a_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyinfra.is_cli", True)
    monkeypatch.setattr("pyinfra.connectors.ssh_util.getpass", nobody)
    monkeypatch.setattr("pyinfra.connectors.ssh_util.RSAKey.from_private_key_file", encrypted)
    _load_private_key_file("x", "x", "")


def ask_for_a_host_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", nobody)
    AskPolicy().missing_host_key(None, "box", None)


@pytest.mark.parametrize(
    ("ask", "cause"),
    [
        (ask_for_a_passphrase, "the private key has a passphrase"),
        (ask_for_a_host_key, "its host key is not in known_hosts"),
    ],
)
def test_what_pyinfra_asked_and_nobody_answered(
    ask: Callable[[pytest.MonkeyPatch], None], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EOFError) as stopped:
        ask(monkeypatch)
    assert f": {cause}. Fix: " in unreachable(stopped.value, "box", "root")
