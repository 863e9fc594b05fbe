"""How a server is reached.

testinfra's types don't hold, so it is imported here alone, and Host means anything.
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


__all__ = ["Host", "Server", "Unreachable", "is_lost", "rights"]
BROKEN = 255  # ssh's own exit code


class Unreachable(Exception):  # noqa: N818 - it reads as what happened
    """No connection could be made; the message says why."""


def is_lost(error: BaseException) -> bool:
    """Tell whether an error only says that the server didn't hear us."""
    if isinstance(error, RuntimeError) and error.args:
        return getattr(error.args[0], "rc", None) == BROKEN
    return isinstance(error, httpx.ConnectTimeout)


def rights(file: Any) -> str:
    """Return whose a file is and its mode, as in "root:root 600"."""
    return f"{file.user}:{file.group} {file.mode:o}"


@dataclass(frozen=True, eq=False)
class Server:
    """An inventory's entry. OpenSSH reads ssh_config itself; what the inventory says wins."""

    name: str
    data: dict[str, Any]

    @property
    def vm(self) -> VM:
        """Return the server's settings."""
        vm: VM = self.data["vm"]
        return vm

    def connect(self, control: Path) -> Host:
        """Return the server from within; one connection, whose socket is `control`, serves all.

        Raises Unreachable.
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
            raise Unreachable(f"No SSH connection to {self.name}: {why}") from error
        if answer.stdout.strip() != "0":
            raise Unreachable(
                f"{self.data['ssh_user']} is not root on {self.name}: {answer.stderr.strip()}"
            )
        return host

    def disconnect(self, control: Path) -> None:
        """Close the connection."""
        command = self.ssh("-o", f"ControlPath={control}", "-O", "exit")
        subprocess.run(command, capture_output=True, check=False)

    def ssh(self, *options: str) -> list[str]:
        """Return the command line that reaches the server with further options."""
        flags = {"-l": "ssh_user", "-p": "ssh_port", "-i": "ssh_key", "-F": "ssh_config_file"}
        known = [(flag, str(self.data[key])) for flag, key in flags.items() if key in self.data]
        return ["ssh", *chain.from_iterable(known), *options, self.name]

    @cached_property
    def public_address(self) -> str:
        """Return the address at which clients reach it. Raises OSError where there is none."""
        if not self.vm.public_address:
            return self.ip_address
        return str(
            socket.getaddrinfo(self.vm.public_address, 443, type=socket.SOCK_STREAM)[0][4][0]
        )

    @cached_property
    def ip_address(self) -> str:
        """Return the address behind the name. Raises OSError where there is none."""
        config = subprocess.run(self.ssh("-G"), check=True, capture_output=True, text=True)
        options = dict(line.split(" ", 1) for line in config.stdout.splitlines() if " " in line)
        found = socket.getaddrinfo(options["hostname"], options["port"], type=socket.SOCK_STREAM)
        return str(found[0][4][0])
