"""The server at the other end of an SSH connection, and its program onebox-release."""

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
from settings.ssh_errors import unreachable

if TYPE_CHECKING:
    from settings import VM
    from settings.app import App

PROGRAM = "/usr/local/bin/onebox-release"
PATIENCE = 10  # seconds for a connection
FAILED, MISSING = 1, 127
NO_SUDO = "sudo: a password is required"


@dataclass(frozen=True)
class Server:
    """A server of the inventory."""

    address: str
    data: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, address: str = "") -> Server:
        """Return the server of this address, or the inventory's only one."""
        return cls(*inventory.server(address))

    @property
    def vm(self) -> VM:
        """Return its settings."""
        vm: VM = self.data["vm"]
        return vm

    def app(self, name: str = "") -> App:
        """Return the app of this name, or the only one."""
        return inventory.app(self.vm.apps, name)

    def program(
        self, *arguments: str, terminal: bool = False, given: bool = False, text: str = ""
    ) -> None:
        """Run onebox-release there, and end with its exit code; what it prints is printed here.

        With a `terminal` it is shown one, if this is run in one. With `given` it reads what is
        given here on standard input; else it reads `text`.
        """
        command = shlex.join([PROGRAM, *arguments])
        if code := self.run(command, terminal=terminal, given=given, text=text):
            if code == MISSING:
                raise Exit(f"{self.address} has no onebox-release. Deploy to it first.", FAILED)
            raise Exit(code=code)

    def run(
        self, command: str, *, terminal: bool = False, given: bool = False, text: str = ""
    ) -> int:
        """Run a command there as root; return its exit code."""
        # env says by 127 that there is no such program; sudo by itself would not.
        sudo = "sudo -n env" if self.data["_sudo"] else "env"
        try:
            result = self.connection.run(
                f"{sudo} {command}",
                pty=terminal and sys.stdout.isatty() and (sys.stdin.isatty() or not given),
                in_stream=None if given else StringIO(text) if text else False,
                warn=True,
            )
        except ThreadException as error:
            if not any(issubclass(each.type, BrokenPipeError) for each in error.exceptions):
                raise
            # Whoever read what this prints has gone: `| head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=FAILED) from None
        if result.exited < 0:
            raise Exit(f"The connection to {self.address} broke.", FAILED)
        if result.exited and (result.stderr or result.stdout).strip().endswith(NO_SUDO):
            user = self.data["ssh_user"]
            allow = f"echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/{user}"
            raise Exit(
                f"{user} may not use sudo without a password. Fix, as root there: {allow}", FAILED
            )
        return int(result.exited)

    @cached_property
    def connection(self) -> Connection:
        """Return an open connection, made as the inventory and ssh_config say.

        A server whose key is not known is not talked to; Fabric by itself would trust any.
        """
        if unedited := self.data.get("unedited"):
            raise Exit(unedited, inventory.REFUSED)
        config = self.data.get("ssh_config_file")
        key = {"key_filename": self.data["ssh_key"]} if "ssh_key" in self.data else {}
        connection = Connection(
            self.address,
            user=self.data["ssh_user"],
            port=self.data.get("ssh_port"),
            config=Config(runtime_ssh_path=config),
            connect_timeout=PATIENCE,
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
