"""A server over SSH, and its program onebox-release."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric import Config, Connection  # type: ignore[import-untyped]
from invoke.exceptions import Exit, ThreadException
from paramiko.client import RejectPolicy
from paramiko.ssh_exception import SSHException

from commands import inventory
from operations.release import PROGRAM
from settings.exit_codes import FAILED, REFUSED
from settings.ssh_errors import unreachable

if TYPE_CHECKING:
    from settings import VM
    from settings.app import App

CONNECT_TIMEOUT = 10  # seconds
MISSING = 127  # exit code of sh for an unknown command
NO_SUDO = "sudo: a password is required"


@dataclass(frozen=True)
class Server:
    """A server of the inventory."""

    address: str
    data: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, address: str = "") -> Server:
        """Return the server with this address, or the inventory's only one."""
        return cls(*inventory.server(address))

    @property
    def vm(self) -> VM:
        """Return the server's settings."""
        vm: VM = self.data["vm"]
        return vm

    def app(self, name: str = "") -> App:
        """Return the app with this name, or the only one."""
        return inventory.app(self.vm.apps, name)

    def program(
        self, *arguments: str, terminal: bool = False, interactive: bool = False, stdin: str = ""
    ) -> None:
        """Run onebox-release on the server, print its output, and exit with its exit code.

        `terminal` allocates a pseudo-terminal if there is one here. `interactive` forwards this
        program's standard input; otherwise it is `stdin`.
        """
        command = shlex.join([PROGRAM, *arguments])
        if code := self.run(command, terminal=terminal, interactive=interactive, stdin=stdin):
            if code == MISSING:
                raise Exit(f"{self.address} has no onebox-release. Deploy to it first.", FAILED)
            raise Exit(code=code)

    def run(
        self, command: str, *, terminal: bool = False, interactive: bool = False, stdin: str = ""
    ) -> int:
        """Run a command on the server as root; return its exit code."""
        # env exits with 127 if the program is missing; sudo exits with 1.
        sudo = "sudo -n env" if self.data["_sudo"] else "env"
        try:
            result = self.connection.run(
                f"{sudo} {command}",
                pty=terminal and sys.stdout.isatty() and (sys.stdin.isatty() or not interactive),
                in_stream=None if interactive else StringIO(stdin) if stdin else False,
                warn=True,
            )
        except ThreadException as error:
            if not any(issubclass(each.type, BrokenPipeError) for each in error.exceptions):
                raise
            # The reader of the output has exited: `| head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=FAILED) from None
        if result.exited < 0:
            raise Exit(f"The connection to {self.address} was lost.", FAILED)
        if result.exited and (result.stderr or result.stdout).strip().endswith(NO_SUDO):
            user = self.data["ssh_user"]
            allow = f"echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/{user}"
            raise Exit(
                f"{user} needs passwordless sudo. Fix, as root on the server: {allow}", FAILED
            )
        return int(result.exited)

    @cached_property
    def connection(self) -> Connection:
        """Return an open connection, by the inventory and ssh_config.

        A server with an unknown host key is refused; Fabric by default trusts any.
        """
        if unedited := self.data.get("unedited"):
            raise Exit(unedited, REFUSED)
        config = self.data.get("ssh_config_file")
        key = {"key_filename": self.data["ssh_key"]} if "ssh_key" in self.data else {}
        connection = Connection(
            self.address,
            user=self.data["ssh_user"],
            port=self.data.get("ssh_port"),
            config=Config(runtime_ssh_path=config),
            connect_timeout=CONNECT_TIMEOUT,
            connect_kwargs={**key, **self.data["ssh_paramiko_connect_kwargs"]},
        )
        known = connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts")
        for file in (Path(name).expanduser() for name in known.split()):
            if file.exists():
                connection.client.load_system_host_keys(str(file))
        connection.client.set_missing_host_key_policy(RejectPolicy())
        try:
            connection.open()
        except (OSError, EOFError, SSHException) as error:
            port = self.data.get("ssh_port")
            raise Exit(
                unreachable(error, self.address, self.data["ssh_user"], port), FAILED
            ) from None
        return connection
