"""Whether a server can take a deploy: what stands in the way, each with its cure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from settings.mistakes import Mistake

if TYPE_CHECKING:
    from preflight.facts import Outside
    from settings import VM

SYSTEMS = ("debian 12", "debian 13")
ARCHITECTURES = ("x86_64", "aarch64")
CLOCK = 60  # seconds by which two clocks may differ
FIRST_DISK, DISK = 1500, 300  # MiB for a first deploy, and for one more release
LARGEST = "du -xhd2 / | sort -h | tail"
WEB = (80, 443)
STOPPED = " (stopped)"  # behind the name of a service
WIDTH = 80


def refusal(name: str, problems: list[Mistake]) -> str:
    """Return the whole message for a server that can't take a deploy."""
    things = "thing stands" if len(problems) == 1 else "things stand"
    lines = "\n\n".join(map(str, problems)).split("\n")
    words = TextWrapper(WIDTH, subsequent_indent=" " * 12, break_on_hyphens=False)
    told = "\n".join(map(words.fill, lines))
    head = f"{len(problems)} {things} in the way of a deploy to {name}; nothing was changed."
    return f"{head}\n\n{told}"


def problems(vm: VM, seen: dict[str, Any], outside: Outside) -> list[Mistake]:
    """Return all that stands in the way at once."""
    match seen.get("lacks"):
        case "python3":
            return [Mistake("python3", "python3 on the server", "none", "apt-get install python3")]
        case "sudo":
            expected = "root, or a user who may use sudo without a password"
            mend = (
                f"as root there: echo '{vm.ssh_user} ALL=(ALL) NOPASSWD:ALL'"
                f" > /etc/sudoers.d/{vm.ssh_user}"
            )
            return [Mistake("ssh_user", expected, f'"{vm.ssh_user}", who may not', mend)]
    return [
        *_machine(vm, seen, outside.clock),
        *_python(vm, seen["python"]),
        *_ports(seen),
        *_names(vm, seen),
        *_taken_over(vm, seen),
    ]


def warnings(seen: dict[str, Any], outside: Outside) -> Iterator[str]:
    """Yield what may be meant so, a line each."""
    own = {*seen["addresses"], outside.address}
    for domain, addresses in outside.domains.items():
        if not addresses:
            yield f"{domain} has no address in DNS: let an A record lead to {outside.address}."
        elif others := [address for address in addresses if address not in own]:
            yield (
                f"{domain} leads to {', '.join(others)}, which is not this server:"
                " right with NAT or a CDN before it, else its certificate fails."
            )
    yield from _room(seen)
    if not outside.port_80:
        yield (
            "Port 80 does not answer from here: a firewall before the server may close it, and"
            " certificates need it open."
        )
    yield from _timekeeper(seen["timekeeper"])
    if "docker" in seen["services"]:
        yield "Docker is left alone: ports that it publishes get past our firewall."
    for cluster in seen["clusters"]:
        if not cluster.endswith("/main"):
            yield f"The PostgreSQL cluster {cluster} is left alone; it shares the memory."
    for listener in seen["listeners"] if not seen["ours"]["firewall"] else []:
        if listener["port"] not in (22, *WEB) and listener["program"] != "sshd":
            yield (
                f"Port {listener['port']} ({listener['program']}) will be closed to the outside by"
                " our firewall."
            )


def _timekeeper(name: str) -> Iterator[str]:
    if name == "none":
        yield "Nothing keeps the server's clock: onebox installs systemd-timesyncd."
    elif name.endswith(STOPPED):
        name = name.removesuffix(STOPPED)
        yield f"{name} is to keep the clock, and does not run: systemctl enable --now {name}"


def _room(seen: dict[str, Any]) -> Iterator[str]:
    if seen["disk"] < DISK and all(seen["ours"].values()):
        yield (
            f"The disk has {seen['disk']} MiB free: a new release will be refused below {DISK} MiB;"
            f" all else is deployed. Free some: {LARGEST}"
        )


def _machine(vm: VM, seen: dict[str, Any], clock: float) -> Iterator[Mistake]:
    if seen["system"] not in SYSTEMS:
        expected = " or ".join(system.capitalize() for system in SYSTEMS)
        yield Mistake("system", expected, seen["system"], "take a server with Debian 13")
    if seen["architecture"] not in ARCHITECTURES:
        expected = " or ".join(ARCHITECTURES)
        yield Mistake("processor", expected, seen["architecture"], "take another server")
    if abs(seen["clock"] - clock) > CLOCK:
        there, here = (_utc(seconds) for seconds in (seen["clock"], clock))
        mend = "timedatectl set-ntp true there; or mend this machine's clock"
        yield Mistake("clock", f"about {here}, as here", there, mend)
    if seen["disk"] < FIRST_DISK and not all(seen["ours"].values()):
        mend = f"see what takes it: {LARGEST}"
        yield Mistake("disk", f"{FIRST_DISK} MiB free", f"{seen['disk']} MiB", mend)
    memory = max(app.web.worker_memory for app in vm.apps)
    if seen["memory"] < memory:
        mend = "add swap, set fewer `workers`, or take a larger server"
        expected = f"{memory} MiB free, for one more release"
        yield Mistake("memory", expected, f"{seen['memory']} MiB", mend)
    most, buffers = seen["memory_total"] // 2, vm.postgresql.shared_buffers or 0
    if vm.local_apps and buffers > most:
        mend = "a quarter of the memory is usual; leave it out for an eighth, beside the apps"
        expected = f"{most} MiB at most, half of the memory"
        yield Mistake("postgresql.shared_buffers", expected, f"{buffers} MiB", mend)
    if seen["apt"]:
        mend = "deploy when it has ended, or see what it waits for"
        yield Mistake("apt", "nobody else at work on packages", seen["apt"], mend)


def _python(vm: VM, python: str) -> Iterator[Mistake]:
    locks = [(app, app.source / "uv.lock") for app in vm.apps]
    for app, lock in locks:
        if not lock.exists():  # requirements.txt doesn't say for which Python it is
            continue
        wanted = tomllib.loads(lock.read_text()).get("requires-python", "")
        if python not in SpecifierSet(wanted):
            expected = f"a lock file for Python {python}, which the server has"
            mend = (
                f"lower `requires-python` in its pyproject.toml and run `uv lock` in {app.source}"
            )
            yield Mistake(f"app {app.name}", expected, f"one for Python {wanted}", mend)


def _ports(seen: dict[str, Any]) -> Iterator[Mistake]:
    held: dict[tuple[str, str], list[int]] = {}
    for listener in seen["listeners"]:
        if listener["port"] in WEB and listener["program"] != "nginx":
            held.setdefault((listener["program"], listener["pid"]), []).append(listener["port"])
    for (program, pid), ports in held.items():
        what = " and ".join(f"port {port}" for port in sorted({*ports}))
        mend = f"systemctl status {pid} names its unit; systemctl disable --now that"
        yield Mistake(what, "free, or nginx", f"{program} (process {pid})", mend)
    if "apache2" in seen["services"] and not any(program == "apache2" for program, _ in held):
        mend = "systemctl disable --now apache2"
        yield Mistake("Apache", "nobody else at port 80", "apache2.service is enabled", mend)


def _names(vm: VM, seen: dict[str, Any]) -> Iterator[Mistake]:
    for app in vm.apps:
        if taken := seen["taken"][app.name]:
            mend = "give the app another name; or take these away, if nothing needs them"
            yield Mistake(f"app {app.name}", "a name that is free there", ", ".join(taken), mend)


def _taken_over(vm: VM, seen: dict[str, Any]) -> Iterator[Mistake]:
    def mistake(what: str, found: str, does: str, otherwise: str) -> Iterator[Mistake]:
        if not seen["ours"][what] and what not in vm.take_over:
            mend = f'{otherwise}; or write `"take_over": ["{what}"]`: {does}'
            yield Mistake(what, "a server that nobody set up otherwise", found, mend)

    if seen["sites"]:
        does = "nginx then serves our sites alone, and those stay on disk unread"
        yield from mistake("nginx", f"sites: {', '.join(seen['sites'])}", does, "move the sites")
    main = [cluster for cluster in seen["clusters"] if cluster.endswith("/main")]
    if main and vm.local_apps:
        does = "its data stays; it then listens on the local socket alone, without passwords"
        yield from mistake("postgresql", f"the cluster {', '.join(main)}", does, "move its data")
    firewalls = ["ufw"] * seen["ufw"] + [s for s in seen["services"] if s == "firewalld"]
    for name in firewalls:
        off = "ufw disable" if name == "ufw" else "systemctl disable --now firewalld"
        does = "both then filter, and a port is open if both let it in"
        yield from mistake("firewall", name, does, off)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
