"""Whether a server can take a deploy: the problems, each with its fix, and the warnings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from sent.server import STOPPED, Observation

from preflight.facts import Unobservable
from settings.mistakes import Mistake

if TYPE_CHECKING:
    from preflight.facts import ExternalObservation
    from settings import VM

SYSTEMS = ("debian 12", "debian 13")
ARCHITECTURES = ("x86_64", "aarch64")
CLOCK_TOLERANCE = 60  # seconds
FIRST_DISK, DISK = 1500, 300  # MiB for a first deploy, and for one more release
LARGEST = "du -xhd2 / | sort -h | tail"
WEB_PORTS = (80, 443)
WIDTH = 80


def refusal(name: str, problems: list[Mistake]) -> str:
    """Return the message that refuses a deploy to a server."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "\n\n".join(map(str, problems)).split("\n")
    wrapper = TextWrapper(WIDTH, subsequent_indent=" " * 12, break_on_hyphens=False)
    body = "\n".join(map(wrapper.fill, lines))
    return f"{name} can't take a deploy: {count}. Nothing was changed.\n\n{body}"


def problems(
    vm: VM, server: Observation | Unobservable, external: ExternalObservation
) -> list[Mistake]:
    """Return all problems that prevent a deploy."""
    if isinstance(server, Unobservable):
        return [_unobservable(vm, server)]
    return [
        *_machine(vm, server, external.clock),
        *_python(vm, server.python),
        *_ports(server),
        *_names(vm, server),
        *_foreign_services(vm, server),
    ]


def warnings(server: Observation | Unobservable, external: ExternalObservation) -> Iterator[str]:
    """Yield what may be intended, a line each."""
    if isinstance(server, Unobservable):
        return
    yield from _dns(server, external)
    yield from _disk_space(server)
    if not external.port_80:
        yield (
            "Port 80 does not answer from here. Certificates need it open: check the firewall in"
            " front of the server."
        )
    yield from _time_service(server.time_service)
    if "docker" in server.services:
        yield "Docker is left as it is: the ports that it publishes bypass the firewall."
    for cluster in server.clusters:
        if not cluster.endswith("/main"):
            yield f"PostgreSQL cluster {cluster} is left as it is; it shares the memory."
    for listener in server.listeners if not server.managed["firewall"] else []:
        if listener.port not in (22, *WEB_PORTS) and listener.program != "sshd":
            yield f"The firewall will close port {listener.port} ({listener.program})."


def _dns(server: Observation, external: ExternalObservation) -> Iterator[str]:
    own = {*server.addresses, external.address}
    for domain, addresses in external.domains.items():
        if not addresses:
            yield f"{domain} has no address in DNS: point an A record at {external.address}."
        elif others := [address for address in addresses if address not in own]:
            yield (
                f"{domain} points to {', '.join(others)}, which is not this server. Behind NAT or"
                " a CDN that is right; otherwise its certificate fails."
            )


def _time_service(name: str) -> Iterator[str]:
    if name == "none":
        yield "No service synchronises the clock: onebox installs systemd-timesyncd."
    elif name.endswith(STOPPED):
        name = name.removesuffix(STOPPED)
        yield f"{name} should synchronise the clock but is stopped: systemctl enable --now {name}"


def _disk_space(server: Observation) -> Iterator[str]:
    if server.disk_free < DISK and all(server.managed.values()):
        yield (
            f"The disk has {server.disk_free} MiB free. Below {DISK} MiB, new releases may be"
            f" refused; everything else is deployed. Free some: {LARGEST}"
        )


def _unobservable(vm: VM, server: Unobservable) -> Mistake:
    if server.missing == "python3":
        return Mistake("python3", "python3 on the server", "none", "apt-get install python3")
    expected = "root, or a user with passwordless sudo"
    fix = "as root on the server:"
    fix += f" echo '{vm.ssh_user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/{vm.ssh_user}"
    return Mistake("ssh_user", expected, f'"{vm.ssh_user}" without passwordless sudo', fix)


def _machine(vm: VM, server: Observation, clock: float) -> Iterator[Mistake]:
    if server.system not in SYSTEMS:
        expected = " or ".join(system.capitalize() for system in SYSTEMS)
        yield Mistake("system", expected, server.system, "use a server with Debian 13")
    if server.architecture not in ARCHITECTURES:
        expected = " or ".join(ARCHITECTURES)
        yield Mistake("processor", expected, server.architecture, "use another server")
    if abs(server.clock - clock) > CLOCK_TOLERANCE:
        there, here = (_utc(seconds) for seconds in (server.clock, clock))
        fix = "timedatectl set-ntp true on the server; or correct this machine's clock"
        yield Mistake("clock", f"about {here}, as here", there, fix)
    if server.disk_free < FIRST_DISK and not all(server.managed.values()):
        fix = f"free some space; the largest folders: {LARGEST}"
        yield Mistake("disk", f"{FIRST_DISK} MiB free", f"{server.disk_free} MiB", fix)
    memory = max(app.web.worker_memory for app in vm.apps)
    if server.memory_available < memory:
        fix = "add swap, set fewer `workers`, or use a larger server"
        expected = f"{memory} MiB available, for a worker of a second release"
        yield Mistake("memory", expected, f"{server.memory_available} MiB", fix)
    most, buffers = server.memory_total // 2, vm.postgresql.shared_buffers or 0
    if vm.local_apps and buffers > most:
        fix = "write a quarter of the memory, or remove it for an eighth, beside the apps"
        expected = f"at most {most} MiB, half of the memory"
        yield Mistake("postgresql.shared_buffers", expected, f"{buffers} MiB", fix)
    if server.apt_lock_holder:
        fix = "deploy when it has finished, or check what it waits for"
        yield Mistake("apt", "apt's lock to be free", server.apt_lock_holder, fix)


def _python(vm: VM, python: str) -> Iterator[Mistake]:
    for app in vm.apps:
        lock = app.source / "uv.lock"
        if not lock.exists():  # requirements.txt does not name its Python
            continue
        required = tomllib.loads(lock.read_text()).get("requires-python", "")
        if python not in SpecifierSet(required):
            expected = f"a lock file for the server's Python {python}"
            fix = f"lower `requires-python` in its pyproject.toml and run `uv lock` in {app.source}"
            yield Mistake(f"app {app.name}", expected, f"one for Python {required}", fix)


def _ports(server: Observation) -> Iterator[Mistake]:
    ports: dict[tuple[str, str], set[int]] = {}
    for listener in server.listeners:
        if listener.port in WEB_PORTS and listener.program != "nginx":
            ports.setdefault((listener.program, listener.pid), set()).add(listener.port)
    for (program, pid), used in ports.items():
        what = " and ".join(f"port {port}" for port in sorted(used))
        fix = f"find its unit by `systemctl status {pid}`, and `systemctl disable --now` it"
        yield Mistake(what, "free, or nginx", f"{program} (process {pid})", fix)
    if "apache2" in server.services and not any(program == "apache2" for program, _ in ports):
        fix = "systemctl disable --now apache2"
        yield Mistake("Apache", "port 80 for nginx", "apache2.service is enabled", fix)


def _names(vm: VM, server: Observation) -> Iterator[Mistake]:
    for app in vm.apps:
        if found := server.name_conflicts[app.name]:
            fix = "rename the app; or remove these, if nothing needs them"
            yield Mistake(f"app {app.name}", "an unused name", ", ".join(found), fix)


def _foreign_services(vm: VM, server: Observation) -> Iterator[Mistake]:
    def mistake(service: str, found: str, effect: str, otherwise: str) -> Iterator[Mistake]:
        if not server.managed[service] and service not in vm.take_over:
            fix = f'{otherwise}; or write `"take_over": ["{service}"]`: {effect}'
            yield Mistake(service, "no configuration by others", found, fix)

    if server.nginx_sites:
        effect = "nginx then serves only onebox's sites; the files of the others stay, unused"
        found = f"sites: {', '.join(server.nginx_sites)}"
        yield from mistake("nginx", found, effect, "move the sites")
    main = [cluster for cluster in server.clusters if cluster.endswith("/main")]
    if main and vm.local_apps:
        effect = "its data stays; it then listens only on the local socket, without passwords"
        yield from mistake("postgresql", f"the cluster {', '.join(main)}", effect, "move its data")
    firewalls = ["ufw"] * server.ufw + [s for s in server.services if s == "firewalld"]
    for name in firewalls:
        disable = "ufw disable" if name == "ufw" else "systemctl disable --now firewalld"
        effect = "both then filter, and a port is open only if both allow it"
        yield from mistake("firewall", name, effect, disable)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
