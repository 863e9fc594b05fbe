"""System users, by systemd-sysusers."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.facts import Names


class Present(Names):
    """Which of the given users exist."""

    def command(self, users: Sequence[str]) -> str:
        """Return one command that asks for all users."""
        return f"getent passwd {shlex.join(users)} | cut -d: -f1"


@operation()
def present(users: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Create the users that /etc/sysusers.d describes and that are missing."""
    there: list[str] = host.get_fact(Present, users=users)
    if missing := [user for user in users if user not in there]:
        absent = (Difference(f"user {user}", "is missing") for user in missing)
        yield mends(StringCommand("systemd-sysusers"), *absent)
