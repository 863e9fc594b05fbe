"""Create, find and remove the lab's hosts. The part that other programs import."""

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lab import acme, cgroup, disk, domains, host_support, image, network, power, snapshot, ssh
from lab.allocation import NAME, HostRequest, allocate, check_name
from lab.errors import LabError
from lab.layout import Lab, locked, this_lab
from lab.registry import HostEntry, folder, load, load_all, names, save


@dataclass(frozen=True)
class Host:
    """A host for other programs; the paths are on this machine."""

    name: str
    address: str
    address6: str
    domains: tuple[str, ...]
    debian: int
    ssh_config: Path
    acme_directory: str
    acme_ca: Path
    acme_root: Path


def running(lab: Lab | None = None) -> list[Host]:
    """Hosts that are on, in the order of their addresses."""
    lab = lab or this_lab()
    return [host_of(lab, r) for r in load_all(lab) if power.is_on(lab, r.name)]


def host_of(lab: Lab, entry: HostEntry) -> Host:
    return Host(
        name=entry.name,
        address=entry.address,
        address6=entry.address6,
        domains=entry.domains,
        debian=entry.debian,
        ssh_config=lab.ssh_config,
        acme_directory=acme.directory(lab),
        acme_ca=acme.ca_file(lab),
        acme_root=acme.root_file(lab),
    )


def up(lab: Lab, request: HostRequest) -> Host:
    """Create and boot a host; return when it answers SSH."""
    entry = allocate(lab, request)
    try:
        return _create(lab, entry)
    except BaseException:
        down(lab, entry.name)
        raise


def get(lab: Lab, name: str) -> HostEntry:
    """A host's entry; raise LabError, which names the known hosts."""
    entry = load(lab, name) if NAME.fullmatch(name) else None
    if entry is None:
        known = ", ".join(names(lab))
        raise LabError(
            f"There is no host {name!r}. "
            + (f"Hosts: {known}." if known else f"Create one: lab up {name}")
        )
    return entry


def start(lab: Lab, entry: HostEntry) -> None:
    """Boot a stopped host and wait for SSH."""
    if power.is_on(lab, entry.name):
        raise LabError(f"{entry.name} is already running.")
    power.boot(lab, entry)
    _serve_acme(lab, entry)
    power.wait_for_ssh(lab, entry)


def take_snapshot(lab: Lab, entry: HostEntry, name: str) -> None:
    """Save a host's state; a running one is shut down cleanly and started again."""
    check_name(name, "snapshot")
    snapshot.check_free(lab, name)
    was_on = power.is_on(lab, entry.name)
    if was_on:
        power.off(lab, entry)
    try:
        snapshot.save(lab, entry, name)
    finally:
        if was_on:
            start(lab, entry)


def down(lab: Lab, name: str) -> None:
    """Remove a host and all it owns; with the last host, all of the lab."""
    with locked(lab.cache):
        _remove(lab, name)


def sweep(lab: Lab) -> None:
    """Remove what killed commands left, and hosts whose owner has exited."""
    snapshot.sweep(lab)
    with locked(lab.cache):
        for name in names(lab):
            entry = load(lab, name)
            if entry is None or entry.abandoned:
                _remove(lab, name)
        if host_support.exists(lab) and not names(lab):
            host_support.tear_down(lab)


def _create(lab: Lab, entry: HostEntry) -> Host:
    with locked(lab.cache):
        host_support.set_up(lab)
    if not entry.lower:
        entry = replace(entry, lower=(_base(lab, entry.debian),))
        save(lab, entry)
    network.attach(lab, entry.name, entry.number)
    disk.prepare(lab, entry)
    power.boot(lab, entry)
    _serve_acme(lab, entry)
    power.wait_for_ssh(lab, entry)
    save(lab, replace(entry, state="ready"))
    return host_of(lab, entry)


def _base(lab: Lab, debian: int) -> str:
    recipe = image.debian_recipe(debian)
    tree = image.ensure(lab, recipe, f"the Debian {debian} image", 20, partial(_layers_in_use, lab))
    return str(tree.relative_to(lab.cache))


def _serve_acme(lab: Lab, entry: HostEntry) -> None:
    recipe = acme.recipe()
    tree = image.ensure(lab, recipe, "the ACME server", 4)
    with locked(lab.cache):
        fresh, entries = acme.ensure(lab, tree), load_all(lab)
        everything = [domain for other in entries for domain in other.domains]
        domains.resolve(lab, everything if fresh else entry.domains, entries)


def _layers_in_use(lab: Lab) -> set[str]:
    return snapshot.layers_in_use(lab) | {layer for r in load_all(lab) for layer in r.lower}


def _remove(lab: Lab, name: str) -> None:
    entry = load(lab, name)
    cgroup.kill(lab, name)
    cgroup.remove(lab, name)
    disk.unmount(lab, name)
    disk.is_released(lab, name)
    if entry is not None:
        network.detach(lab, name, entry.number)
    host_support.clear_machine(lab.namespace(name))
    shutil.rmtree(folder(lab, name), ignore_errors=True)
    if not names(lab):
        host_support.tear_down(lab)
        return
    ssh.write_config(lab)
    if entry is not None and cgroup.processes(lab, acme.NAME):
        with suppress(OSError):  # the DNS server is down: it has no addresses to update
            domains.resolve(lab, entry.domains, load_all(lab))
