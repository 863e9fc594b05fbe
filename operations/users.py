"""System users, created by systemd-sysusers; those of apps can't log in."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes

GROUP = "onebox-nologin"  # sshd's DenyGroups names it
HOME, SHELL = "/nonexistent", "/usr/sbin/nologin"
MASK = "/dev/null"


@dataclass(frozen=True)
class User:
    """A user on the server."""

    home: str
    shell: str
    manager: str
    """Target of its link user@UID.service; /dev/null masks it."""
    groups: tuple[str, ...]


class Users(FactBase[dict[str, User]]):
    """Those of the given users that exist, and how each could log in."""

    def command(self, users: Sequence[str]) -> str:
        """Return one command for all users."""
        return (
            f"for user in {shlex.join(users)}; do"
            ' entry=$(getent passwd "$user") || continue;'
            ' echo "$user:$(echo "$entry" | cut -d: -f6,7)'
            ':$(readlink /etc/systemd/system/user@$(id -u "$user").service)'
            ':$(id -nG "$user")"; done'
        )

    @staticmethod
    def default() -> dict[str, User]:
        """Return no users."""
        return {}

    def process(self, output: list[str]) -> dict[str, User]:
        """Return the users by name."""
        fields = (line.split(":") for line in output)
        return {
            name: User(home, shell, manager, tuple(groups.split()))
            for name, home, shell, manager, groups in fields
        }


@operation()
def create(users: Sequence[str], *, login: bool = False) -> Generator[StringCommand, None, None]:
    """Create missing users, which /etc/sysusers.d must describe.

    Without `login` they can't log in: the home is /nonexistent, sshd denies their group, and
    systemd never starts a user manager, which would have no sandbox.
    """
    existing = host.get_fact(Users, users=users)
    missing = [*_missing(existing, users, login=login)]
    if missing:
        yield fixes(StringCommand("systemd-sysusers"), *missing)
    for user in users if not login else ():
        yield from _deny_login(user, existing.get(user))


def _deny_login(user: str, current: User | None) -> Iterator[StringCommand]:
    if current and (current.home, current.shell) != (HOME, SHELL):
        home = Difference(f"user {user}", f"has home {current.home} and shell {current.shell}")
        yield fixes(StringCommand(_remove_home(user)), home)
    if current is None or current.manager != MASK:
        manager = Difference(f"user {user}", "can have a systemd user manager")
        yield fixes(StringCommand(_mask_manager(user)), *([manager] if current else []))


def _missing(
    existing: dict[str, User], users: Sequence[str], *, login: bool
) -> Iterator[Difference]:
    for user in users:
        if user not in existing:
            yield Difference(f"user {user}", "is missing")
        elif not login and GROUP not in existing[user].groups:
            yield Difference(f"user {user}", f"is not in the group {GROUP}")


def _remove_home(user: str) -> str:
    """Return the command that sets a user's home and shell.

    usermod refuses while the user runs a process, and an app must not be stopped for this; vipw
    takes the same locks and also replaces /etc/passwd by a rename.
    """
    edit = f"s|^({user}(:[^:]*){{4}}):.*|\\1:{HOME}:{SHELL}|"
    return f"VISUAL={shlex.quote(f'sed -Ei {shlex.quote(edit)}')} vipw -q > /dev/null"


def _mask_manager(user: str) -> str:
    """Return the command that ends a user's sessions and masks its systemd user manager."""
    return (
        f"uid=$(id -u {user}) && systemctl mask --quiet user@$uid.service"
        " && systemctl stop user-$uid.slice"
    )
