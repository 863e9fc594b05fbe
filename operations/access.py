"""Who gets in: told when it changes, changed by nobody but a person."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations import guarded
from operations.difference import Difference, mends
from operations.files import File, write
from operations.program import sent
from settings import VM

RECORD = "/var/lib/onebox/access.json"


class Access(FactBase[dict[str, Any]]):
    """Keys, sudo rights and listeners: as they are now, and as they were put on record."""

    def command(self, decided: str) -> str:
        """Return the command; the keys of the user `decided` are a setting, and not recorded."""
        return sent("sent.access", decided)

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the state of a host that nothing is known of."""
        return {"now": [], "known": None}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return both lists, by name."""
        both: dict[str, Any] = json.loads(output[0])
        return both


class Login(FactBase[list[str]]):
    """A user's home folder and group."""

    def command(self, user: str) -> str:
        """Return the command."""
        return f"getent passwd {shlex.quote(user)} | cut -d: -f6; id -gn {shlex.quote(user)}"

    @staticmethod
    def default() -> list[str]:
        """Return what a host says that wasn't asked."""
        return ["/root", "root"]

    def process(self, output: list[str]) -> list[str]:
        """Return both."""
        return output


def decided(vm: VM) -> str:
    """Return the user whose keys a setting decides, or nothing."""
    return vm.ssh_user if vm.authorized_keys else ""


@operation()
def keys_alone(
    user: str, keys: Sequence[str]
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Let these keys alone log in as a user. If no new connection can be made then, the server
    takes it back by itself."""
    home, group = host.get_fact(Login, user=user)
    text = "\n".join(["# Made by onebox: `authorized_keys` in the inventory.", *keys, ""])
    path = f"{home}/.ssh/authorized_keys"
    file = File(path, text, "600", f"{user}:{group}", check="ssh-keygen -l -f {} > /dev/null")
    yield from guarded.place._inner(file=file, apply="true", withdraw="true")


@operation()
def recorded(vm: VM, *, accept: bool) -> Generator[StringCommand, None, None]:
    """Put on record who gets in, the first time; later, only if a person says so by `accept`."""
    access = host.get_fact(Access, decided=decided(vm))
    if access["known"] is None or (accept and access["known"] != access["now"]):
        record = write(File(RECORD, json.dumps(access["now"], indent=1), mode="600"))
        yield mends(record, Difference(RECORD, "does not say who gets in"))


def foreign(access: dict[str, Any]) -> list[Difference]:
    """Return what changed since it was put on record. A deploy changes nothing of it."""
    now, known = set(access["now"]), set(access["known"] or access["now"])
    added = (Difference(what, "is not on record") for what in sorted(now - known))
    gone = (Difference(what, "is gone") for what in sorted(known - now))
    return [*added, *gone]
