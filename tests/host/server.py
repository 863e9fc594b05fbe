"""How a server is reached."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import testinfra
from testinfra.host import Host

if TYPE_CHECKING:
    from settings import VM


class Unreachable(Exception):  # noqa: N818 - it reads as what happened
    """No connection could be made; the message says why."""


@dataclass(frozen=True)
class Server:
    """An inventory's entry. OpenSSH reads ssh_config itself; what the inventory says wins."""

    name: str
    vm: VM
    ssh_user: str
    sudo: bool
    ssh_port: int | None = None
    ssh_key: str | None = None
    ssh_config_file: str | None = None

    def connect(self, control: Path) -> Host:
        """Return the server from within; one connection, whose socket is `control`, serves all.

        Raises Unreachable.
        """
        name = f"[{self.name}]" if ":" in self.name else self.name
        port = f":{self.ssh_port}" if self.ssh_port else ""
        host = testinfra.get_host(
            f"ssh://{self.ssh_user}@{name}{port}",
            ssh_config=self.ssh_config_file,
            ssh_identity_file=self.ssh_key,
            ssh_extra_args="-o BatchMode=yes",
            controlpath=str(control),
            sudo=self.sudo,
        )
        try:
            answer = host.run("id -u")
        except RuntimeError as error:
            why = error.args[0].stderr.strip() or "ssh failed"
            raise Unreachable(f"No SSH connection to {self.name}: {why}") from error
        if answer.stdout.strip() != "0":
            raise Unreachable(f"{self.ssh_user} is not root on {self.name}: {answer.stderr}")
        return host

    def disconnect(self, control: Path) -> None:
        """Close the connection."""
        command = self.ssh("-o", f"ControlPath={control}", "-O", "exit")
        subprocess.run(command, capture_output=True, check=False)

    def ssh(self, *options: str) -> list[str]:
        """Return the command line that reaches the server with further options."""
        config = ["-F", self.ssh_config_file] if self.ssh_config_file else []
        key = ["-i", self.ssh_key] if self.ssh_key else []
        port = ["-p", str(self.ssh_port)] if self.ssh_port else []
        return ["ssh", *config, *key, *port, "-l", self.ssh_user, *options, self.name]

    @cached_property
    def ip_address(self) -> str:
        """Return the address behind the name. Raises OSError where there is none."""
        config = subprocess.run(self.ssh("-G"), check=True, capture_output=True, text=True)
        options = dict(line.split(" ", 1) for line in config.stdout.splitlines() if " " in line)
        found = socket.getaddrinfo(options["hostname"], options["port"], type=socket.SOCK_STREAM)
        return str(found[0][4][0])
