"""SSH keys, sudo rights and listeners: changes are reported, and only a person removes them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations import guarded
from operations.difference import Difference, fixes
from operations.files import File, write
from operations.program import sent
from settings import VM

RECORD = "/var/lib/onebox/access.json"


@dataclass(frozen=True)
class AccessState:
    """Keys, sudo rights and listeners, one a line."""

    current: tuple[str, ...] = ()
    recorded: tuple[str, ...] | None = None
    """As last accepted; None before the first deploy."""


class Access(FactBase[AccessState]):
    """Who has access now, and who had when it was recorded."""

    def command(self, managed_user: str) -> str:
        """Return the command; `authorized_keys` manages this user's keys, so they are left out."""
        return sent("sent.access", managed_user)

    @staticmethod
    def default() -> AccessState:
        """Return the state of a server without onebox."""
        return AccessState()

    def process(self, output: list[str]) -> AccessState:
        """Return the state."""
        data = json.loads(output[0])
        recorded = None if data["known"] is None else tuple(data["known"])
        return AccessState(tuple(data["now"]), recorded)


class Login(FactBase[list[str]]):
    """A user's home folder and group."""

    def command(self, user: str) -> str:
        """Return the command."""
        return f"getent passwd {shlex.quote(user)} | cut -d: -f6; id -gn {shlex.quote(user)}"

    @staticmethod
    def default() -> list[str]:
        """Return root's."""
        return ["/root", "root"]

    def process(self, output: list[str]) -> list[str]:
        """Return both."""
        return output


def managed_user(vm: VM) -> str:
    """Return the user whose keys `authorized_keys` manages; "" without that setting."""
    return vm.ssh_user if vm.authorized_keys else ""


@operation()
def authorize_keys(
    user: str, keys: Sequence[str]
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Let only these keys log in as a user; the server reverts it if no new connection succeeds."""
    home, group = host.get_fact(Login, user=user)
    text = "\n".join(["# Made by onebox: `authorized_keys` in the inventory.", *keys, ""])
    path = f"{home}/.ssh/authorized_keys"
    file = File(path, text, "600", f"{user}:{group}", check="ssh-keygen -l -f {} > /dev/null")
    yield from guarded.install._inner(file=file, apply="true", revert="true")


@operation()
def record_access(vm: VM, *, accept: bool) -> Generator[StringCommand, None, None]:
    """Record who has access, at the first deploy; later only where the user passes `accept`."""
    access: AccessState = host.get_fact(Access, managed_user=managed_user(vm))
    if access.recorded is None or (accept and access.recorded != access.current):
        record = write(File(RECORD, json.dumps(access.current, indent=1), mode="600"))
        yield fixes(record, Difference(RECORD, "does not match the current access"))


def access_changes(access: AccessState) -> list[Difference]:
    """Return what changed since access was recorded; no deploy changes any of it."""
    current, recorded = set(access.current), set(access.recorded or access.current)
    added = (Difference(what, "is not on record") for what in sorted(current - recorded))
    removed = (Difference(what, "is gone") for what in sorted(recorded - current))
    return [*added, *removed]
