"""Connections to a server, over SSH.

Only this module imports testinfra, whose types are incomplete: Host is Any.
"""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import testinfra  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from settings import VM


__all__ = ["ConnectionFailed", "Host", "Server", "is_connection_lost", "owner_and_mode"]
BROKEN = 255  # ssh's own exit code


class ConnectionFailed(Exception):  # noqa: N818 - reads as an event
    """An SSH connection failed; the message has the reason."""


def is_connection_lost(error: BaseException) -> bool:
    """Return whether an error only means that the connection was lost."""
    if isinstance(error, RuntimeError) and error.args:
        return getattr(error.args[0], "rc", None) == BROKEN
    return isinstance(error, httpx.ConnectTimeout)


def owner_and_mode(file: Any) -> str:
    """Return a file's owner and mode, as in "root:root 600"."""
    return f"{file.user}:{file.group} {file.mode:o}"


@dataclass(frozen=True, eq=False)
class Server:
    """An inventory's entry, which takes precedence over ssh_config."""

    name: str
    data: dict[str, Any]

    @property
    def vm(self) -> VM:
        """Return the server's settings."""
        vm: VM = self.data["vm"]
        return vm

    def connect(self, control: Path) -> Host:
        """Return the host, over one multiplexed connection whose socket is `control`.

        Raises ConnectionFailed.
        """
        name = f"[{self.name}]" if ":" in self.name else self.name
        port = f":{self.data['ssh_port']}" if "ssh_port" in self.data else ""
        host = testinfra.get_host(
            f"ssh://{self.data['ssh_user']}@{name}{port}",
            ssh_config=self.data.get("ssh_config_file"),
            ssh_identity_file=self.data.get("ssh_key"),
            ssh_extra_args="-o BatchMode=yes",
            controlpath=str(control),
            sudo=self.data["_sudo"],
        )
        try:
            answer = host.run("id -u")
        except RuntimeError as error:
            why = error.args[0].stderr.strip() or "ssh failed"
            raise ConnectionFailed(f"No SSH connection to {self.name}: {why}") from error
        if answer.stdout.strip() != "0":
            raise ConnectionFailed(
                f"{self.data['ssh_user']} is not root on {self.name}: {answer.stderr.strip()}"
            )
        return host

    def disconnect(self, control: Path) -> None:
        """Close the connection."""
        command = self.ssh("-o", f"ControlPath={control}", "-O", "exit")
        subprocess.run(command, capture_output=True, check=False)

    def ssh(self, *options: str) -> list[str]:
        """Return the command line of ssh to the server, with further options."""
        flags = {"-l": "ssh_user", "-p": "ssh_port", "-i": "ssh_key", "-F": "ssh_config_file"}
        known = [(flag, str(self.data[key])) for flag, key in flags.items() if key in self.data]
        return ["ssh", *chain.from_iterable(known), *options, self.name]

    @cached_property
    def public_address(self) -> str:
        """Return the IP address that clients use. Raises OSError if it can't be resolved."""
        if not self.vm.public_address:
            return self.ip_address
        return str(
            socket.getaddrinfo(self.vm.public_address, 443, type=socket.SOCK_STREAM)[0][4][0]
        )

    @cached_property
    def ip_address(self) -> str:
        """Return the IP address that ssh connects to. Raises OSError if it can't be resolved."""
        config = subprocess.run(self.ssh("-G"), check=True, capture_output=True, text=True)
        options = dict(line.split(" ", 1) for line in config.stdout.splitlines() if " " in line)
        found = socket.getaddrinfo(options["hostname"], options["port"], type=socket.SOCK_STREAM)
        return str(found[0][4][0])
