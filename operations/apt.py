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
    """Which of the given packages are installed, by their own name or by that of one that
    provides them: Debian 13's libmagic1 is only a name that libmagic1t64 provides."""

    def command(self, packages: Sequence[str]) -> str:
        """Return one command that asks for all packages."""
        query = shlex.quote("${db:Status-Status} ${Package}, ${Provides}\\n")
        names = " ".join(f"-e {shlex.quote(package)}" for package in packages)
        return (
            f"dpkg-query -W -f {query} | sed -n 's/^installed //p' | tr ',' '\\n'"
            f" | sed 's/ (.*//; s/ //g' | sort -u | grep -xF {names} || true"
        )

    @staticmethod
    def default() -> list[str]:
        """Return what a host without any of them has."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the installed packages' names."""
        return output


class Timekeeper(FactBase[str]):
    """The package that keeps the clock, "container" where the host of this one does, or nothing."""

    def command(self) -> str:
        """Return the command; Debian lets one such package in at a time."""
        query = shlex.quote("${db:Status-Status} ${Package} ${Provides}\\n")
        return (
            "if systemd-detect-virt --quiet --container; then echo container;"
            f" else dpkg-query -W -f {query} |"
            " sed -n 's/^installed \\([^ ]*\\) .*\\<time-daemon\\>.*/\\1/p'; fi"
        )

    @staticmethod
    def default() -> str:
        """Return what a host says that wasn't asked."""
        return ""

    def process(self, output: list[str]) -> str:
        """Return the package."""
        return "".join(output[:1])


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
