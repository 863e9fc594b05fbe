"""System users, by systemd-sysusers; those that only run programs can't log in."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends

GROUP = "onebox-nologin"  # sshd's DenyGroups names it
HOME, SHELL = "/nonexistent", "/usr/sbin/nologin"
MASK = "/dev/null"


@dataclass(frozen=True)
class User:
    """A user as the server knows it."""

    home: str
    shell: str
    manager: str
    """Target of the link that is its `user@UID.service`; /dev/null masks it."""
    groups: tuple[str, ...]


class Known(FactBase[dict[str, User]]):
    """Which of the given users exist, and how each could log in."""

    def command(self, users: Sequence[str]) -> str:
        """Return one command that asks for all users."""
        return (
            f"for user in {shlex.join(users)}; do"
            ' entry=$(getent passwd "$user") || continue;'
            ' echo "$user:$(echo "$entry" | cut -d: -f6,7)'
            ':$(readlink /etc/systemd/system/user@$(id -u "$user").service)'
            ':$(id -nG "$user")"; done'
        )

    @staticmethod
    def default() -> dict[str, User]:
        """Return what a host without any has."""
        return {}

    def process(self, output: list[str]) -> dict[str, User]:
        """Return the users by name."""
        fields = (line.split(":") for line in output)
        return {
            name: User(home, shell, manager, tuple(groups.split()))
            for name, home, shell, manager, groups in fields
        }


@operation()
def present(users: Sequence[str], *, login: bool = False) -> Generator[StringCommand, None, None]:
    """Create the users that /etc/sysusers.d describes and that are missing.

    Without `login`, each is also kept from logging in: its home is /nonexistent, it is in the
    group that sshd denies, and systemd never starts a manager for it, which has no sandbox.
    """
    known = host.get_fact(Known, users=users)
    found = [*_to_describe(known, users, login=login)]
    if found:
        yield mends(StringCommand("systemd-sysusers"), *found)
    for user in users if not login else ():
        there = known.get(user)
        if there and (there.home, there.shell) != (HOME, SHELL):
            home = Difference(f"user {user}", f"has home {there.home} and shell {there.shell}")
            yield mends(StringCommand(_homeless(user)), home)
        if there is None or there.manager != MASK:
            masked = Difference(f"user {user}", "could have a systemd manager of its own")
            yield mends(StringCommand(_unmanaged(user)), *([masked] if there else []))


def _to_describe(
    known: dict[str, User], users: Sequence[str], *, login: bool
) -> Iterator[Difference]:
    for user in users:
        if user not in known:
            yield Difference(f"user {user}", "is missing")
        elif not login and GROUP not in known[user].groups:
            yield Difference(f"user {user}", f"is not in the group {GROUP}")


def _homeless(user: str) -> str:
    """Return the command that changes a user's home and shell.

    usermod refuses to while the user runs anything, and an app must not be stopped for this; vipw
    takes the same locks, and replaces /etc/passwd by a rename.
    """
    edit = f"s|^({user}(:[^:]*){{4}}):.*|\\1:{HOME}:{SHELL}|"
    return f"VISUAL={shlex.quote(f'sed -Ei {shlex.quote(edit)}')} vipw -q > /dev/null"


def _unmanaged(user: str) -> str:
    """Return the command that ends a user's sessions, and keeps systemd from starting others."""
    return (
        f"uid=$(id -u {user}) && systemctl mask --quiet user@$uid.service"
        " && systemctl stop user-$uid.slice"
    )
