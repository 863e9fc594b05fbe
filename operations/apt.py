"""Debian packages."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.facts import Names

# Waits for another apt. needrestart is suspended: it would restart apps in place.
APT = (
    "env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1"
    " apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
)


class Installed(Names):
    """Which of the given packages are installed, under their own name or one that another package
    provides: on Debian 13, libmagic1t64 provides libmagic1."""

    def command(self, packages: Sequence[str]) -> str:
        """Return one command for all packages."""
        query = shlex.quote("${db:Status-Status} ${Package}, ${Provides}\\n")
        names = " ".join(f"-e {shlex.quote(package)}" for package in packages)
        return (
            f"dpkg-query -W -f {query} | sed -n 's/^installed //p' | tr ',' '\\n'"
            f" | sed 's/ (.*//; s/ //g' | sort -u | grep -xF {names} || true"
        )


class TimeDaemon(FactBase[str]):
    """The package that keeps the clock; "container" where the container's host does; or ""."""

    def command(self) -> str:
        """Return the command; Debian's time daemons conflict, so there is at most one."""
        query = shlex.quote("${db:Status-Status} ${Package} ${Provides}\\n")
        return (
            "if systemd-detect-virt --quiet --container; then echo container;"
            f" else dpkg-query -W -f {query} |"
            " sed -n 's/^installed \\([^ ]*\\) .*\\<time-daemon\\>.*/\\1/p'; fi"
        )

    @staticmethod
    def default() -> str:
        """Return no package."""
        return ""

    def process(self, output: list[str]) -> str:
        """Return the package's name."""
        return "".join(output[:1])


@operation()
def install(packages: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Install missing packages in one transaction, after an update of the package lists."""
    installed = host.get_fact(Installed, packages=packages)
    missing = [package for package in packages if package not in installed]
    if missing:
        update = StringCommand(f"{APT} -o APT::Update::Error-Mode=any update")
        differences = (Difference(f"package {package}", "is not installed") for package in missing)
        yield fixes(update, *differences)
        yield StringCommand(f"{APT} install --no-install-recommends {shlex.join(missing)}")
