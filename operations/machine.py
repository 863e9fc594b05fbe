"""The server's hardware and system, which no deploy changes."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host

POSTGRESQL = {"12": "15", "13": "17"}


@dataclass(frozen=True)
class Machine:
    """A server's size and system."""

    debian: str
    cores: int
    memory: int
    """MiB."""
    ipv6: bool
    ssh_ports: tuple[int, ...]

    @property
    def postgresql(self) -> str:
        """Return the major version of PostgreSQL that this Debian has."""
        return POSTGRESQL[self.debian]


class MachineFact(FactBase[Machine]):
    """The machine, read by one command."""

    def command(self) -> str:
        """Return the command; nproc counts the cores that this host may use, not the hardware's."""
        return (
            ". /etc/os-release; echo $ID $VERSION_ID; nproc;"
            " awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo;"
            " [ -e /proc/net/if_inet6 ] && echo yes || echo no;"
            " /usr/sbin/sshd -T | awk '/^port / {print $2}'"
        )

    def process(self, output: list[str]) -> Machine:
        """Return the machine."""
        system, cores, memory, ipv6, *ports = output
        return Machine(
            debian=system.removeprefix("debian "),
            cores=int(cores),
            memory=int(memory),
            ipv6=ipv6 == "yes",
            ssh_ports=tuple(sorted(map(int, ports))),
        )


_cache: dict[str, Machine] = {}


def machine(host: Host) -> Machine:
    """Return the server's machine, read once per run."""
    if host.name not in _cache:
        found: Machine = host.get_fact(MachineFact)
        if found.debian not in POSTGRESQL:
            raise PyinfraError(f"{host.name} runs {found.debian}; onebox needs Debian 12 or 13.")
        if not found.ssh_ports:
            raise PyinfraError(
                f"{host.name}: `sshd -T` lists no port; the firewall would close SSH."
            )
        _cache[host.name] = found
    return _cache[host.name]
