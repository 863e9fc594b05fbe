"""What is seen of a server before a deploy, on it and from here, by one command."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any, TypeVar

from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector

from operations.program import sent
from settings import VM
from settings.app import App

PATIENCE = 120  # seconds for another apt to end
ANSWER = 1.0  # seconds for DNS, and for port 80
# Files of ours; where one stands, what it is about was taken over by an earlier deploy.
OURS = {
    "nginx": "etc/systemd/system/nginx.service.d/onebox.conf",
    "firewall": "etc/onebox/firewall.nft",
    "postgresql": "etc/postgresql-common/createcluster.d/onebox.conf",
}
Value = TypeVar("Value")


class Look(FactBase[dict[str, Any]]):
    """All that is to be known, or what is lacking to know it: Python, or sudo rights."""

    def command(self, asked: str) -> str:
        """Return one command, which makes itself root where it must."""
        program = sent("sent.server", asked)
        return (
            'command -v python3 >/dev/null || { echo \'{"lacks": "python3"}\'; exit; };'
            f' if [ "$(id -u)" = 0 ]; then {program};'
            f" elif sudo -n true 2>/dev/null; then sudo -n {program};"
            ' else echo \'{"lacks": "sudo"}\'; fi'
        )

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return what was seen."""
        seen: dict[str, Any] = json.loads(output[-1])
        return seen


@dataclass(frozen=True)
class Outside:
    """What the deploying machine sees."""

    address: str
    """The server's `public_address`, or as connected to; empty behind a jump host."""
    domains: dict[str, list[str]]
    """The addresses that DNS has for them."""
    port_80: bool
    """Whether anything answers there, be it that nobody listens."""
    clock: float
    """This machine's, when the server told its own."""


def look(host: Host, vm: VM, packages: Sequence[str]) -> tuple[dict[str, Any], Outside]:
    """Return what is seen on the server and, at the same time, from here."""
    address = _public(vm) or _peer(host)
    names = [domain for app in vm.apps for domain in app.domains]
    addresses = [_begun(_resolve, name) for name in names]
    answers = _begun(_answers, address)
    asked = {
        "ours": OURS,
        "taken": {app.name: _places(app) for app in vm.apps},
        "packages": packages,
        "patience": PATIENCE,
    }
    seen: dict[str, Any] = host.get_fact(Look, asked=json.dumps(asked), _sudo=False)
    clock = time.time()
    found = {name: ask() or [] for name, ask in zip(names, addresses, strict=True)}
    return seen, Outside(address, found, bool(answers()), clock)


def _begun(ask: Callable[[str], Value], of: str) -> Callable[[], Value | None]:
    """Begin to ask, and return a function that waits for the answer as long as that is wise."""
    found: list[Value] = []
    thread = Thread(target=lambda: found.append(ask(of)), daemon=True)
    thread.start()

    def wait() -> Value | None:
        thread.join(ANSWER)
        return found[0] if found else None

    return wait


def _public(vm: VM) -> str:
    """Return the IP address of `public_address`, if that is set."""
    if not vm.public_address:
        return ""
    return next(iter(_resolve(vm.public_address)), vm.public_address)


def _peer(host: Host) -> str:
    """Return the address that the connection leads to."""
    client = host.connector.client if isinstance(host.connector, SSHConnector) else None
    transport = client.get_transport() if client else None
    address = transport.sock.getpeername() if transport else ()
    return str(address[0]) if isinstance(address, tuple) and address else ""


def _resolve(domain: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(domain, 80)})
    except OSError:
        return []


def _answers(address: str) -> bool:
    if not address:
        return True
    try:
        socket.create_connection((address, 80), ANSWER).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def _places(app: App) -> list[str]:
    units = [f"{app.name}.service", f"{app.name}@.target", f"{app.name}-web@.service"]
    folders = [f"/srv/{app.name}", f"/etc/{app.name}", f"/var/lib/{app.name}"]
    return [*folders, *(f"/etc/systemd/system/{unit}" for unit in units)]
