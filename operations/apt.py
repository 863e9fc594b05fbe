"""Debian packages, without a change where nothing is missing."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends

# Waits for another apt to finish; needrestart, where installed, would restart apps in place.
APT = (
    "env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1"
    " apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
)


class Installed(FactBase[list[str]]):
    """Which of the given packages are installed."""

    def command(self, packages: Sequence[str]) -> str:
        """Return one command that asks for all packages."""
        query = shlex.quote("${db:Status-Status} ${Package}\\n")
        return f"dpkg-query -W -f {query} {shlex.join(packages)} 2>/dev/null || true"

    @staticmethod
    def default() -> list[str]:
        """Return what a host without any of them has."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the installed packages' names."""
        states = (line.split(" ", 1) for line in output)
        return [package for state, package in states if state == "installed"]


@operation()
def installed(packages: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Install what is missing in one transaction, with fresh package lists."""
    present = host.get_fact(Installed, packages=packages)
    missing = [package for package in packages if package not in present]
    if missing:
        update = StringCommand(f"{APT} -o APT::Update::Error-Mode=any update")
        absent = (Difference(f"package {package}", "is not installed") for package in missing)
        yield mends(update, *absent)
        yield StringCommand(f"{APT} install --no-install-recommends {shlex.join(missing)}")
