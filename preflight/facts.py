"""Observe a server before a deploy, by one command on it and from the deploying machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from threading import Thread
from typing import Literal, TypeVar

from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector
from sent.server import Observation, Request

from operations.program import sent
from settings import VM
from settings.app import App

APT_TIMEOUT = 120  # seconds
NETWORK_TIMEOUT = 1.0  # seconds for DNS, and for port 80
# A file that onebox generates, by the service that it takes over.
ONEBOX_FILES = {
    "nginx": "etc/systemd/system/nginx.service.d/onebox.conf",
    "firewall": "etc/onebox/firewall.nft",
    "postgresql": "etc/postgresql-common/createcluster.d/onebox.conf",
}
Value = TypeVar("Value")


@dataclass(frozen=True)
class Unobservable:
    """A server that can't be observed, because it has no python3 or the user has no sudo."""

    missing: Literal["python3", "sudo"]


class ServerState(FactBase[Observation | Unobservable]):
    """The state of a server, or why it can't be observed."""

    def command(self, request: str) -> str:
        """Return a command that runs the program as root, by sudo if necessary."""
        program = sent("sent.server", request)
        return (
            'command -v python3 >/dev/null || { echo \'{"missing": "python3"}\'; exit; };'
            f' if [ "$(id -u)" = 0 ]; then {program};'
            f" elif sudo -n true 2>/dev/null; then sudo -n {program};"
            ' else echo \'{"missing": "sudo"}\'; fi'
        )

    def process(self, output: list[str]) -> Observation | Unobservable:
        """Return the observation."""
        fields = json.loads(output[-1])
        return Unobservable(**fields) if "missing" in fields else Observation.from_json(output[-1])


@dataclass(frozen=True)
class ExternalObservation:
    """A server as the deploying machine sees it."""

    address: str
    """`public_address`, or the address of the connection; empty behind a jump host."""
    domains: dict[str, list[str]]
    """Addresses in DNS, by domain."""
    port_80: bool
    """Whether port 80 answers, if only by refusing a connection."""
    clock: float
    """The deploying machine's clock when the server was observed, in seconds since the epoch."""


def observe(
    host: Host, vm: VM, packages: Sequence[str]
) -> tuple[Observation | Unobservable, ExternalObservation]:
    """Observe a server from inside and, at the same time, from this machine."""
    address = _public_address(vm) or _peer_address(host)
    names = [domain for app in vm.apps for domain in app.domains]
    lookups = [_in_background(_resolve, name) for name in names]
    port_80 = _in_background(_answers, address)
    request = Request(
        onebox_files=ONEBOX_FILES,
        app_paths={app.name: _app_paths(app) for app in vm.apps},
        packages=list(packages),
        apt_timeout=APT_TIMEOUT,
    )
    server: Observation | Unobservable = host.get_fact(
        ServerState, request=json.dumps(asdict(request)), _sudo=False
    )
    clock = time.time()
    domains = {name: lookup() or [] for name, lookup in zip(names, lookups, strict=True)}
    return server, ExternalObservation(address, domains, bool(port_80()), clock)


def _in_background(ask: Callable[[str], Value], name: str) -> Callable[[], Value | None]:
    """Start a query, and return a function that waits for its answer; None after the timeout."""
    answers: list[Value] = []
    thread = Thread(target=lambda: answers.append(ask(name)), daemon=True)
    thread.start()

    def wait() -> Value | None:
        thread.join(NETWORK_TIMEOUT)
        return answers[0] if answers else None

    return wait


def _public_address(vm: VM) -> str:
    """Return the IP address of `public_address`; empty if it is not set."""
    if not vm.public_address:
        return ""
    return next(iter(_resolve(vm.public_address)), vm.public_address)


def _peer_address(host: Host) -> str:
    """Return the remote address of the SSH connection; empty if it is not a socket's."""
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
        socket.create_connection((address, 80), NETWORK_TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def _app_paths(app: App) -> list[str]:
    units = [f"{app.name}.service", f"{app.name}@.target", f"{app.name}-web@.service"]
    folders = [f"/srv/{app.name}", f"/etc/{app.name}", f"/var/lib/{app.name}"]
    return [*folders, *(f"/etc/systemd/system/{unit}" for unit in units)]
