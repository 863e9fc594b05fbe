"""System users, by systemd-sysusers."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends


class Present(FactBase[list[str]]):
    """Which of the given users exist."""

    def command(self, users: Sequence[str]) -> str:
        """Return one command that asks for all users."""
        return f"getent passwd {shlex.join(users)} | cut -d: -f1"

    @staticmethod
    def default() -> list[str]:
        """Return what a host without any of them has."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the names of users that exist."""
        return output


@operation()
def present(users: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Create the users that /etc/sysusers.d describes and that are missing."""
    there: list[str] = host.get_fact(Present, users=users)
    if missing := [user for user in users if user not in there]:
        absent = (Difference(f"user {user}", "is missing") for user in missing)
        yield mends(StringCommand("systemd-sysusers"), *absent)
