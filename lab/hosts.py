"""The lab's hosts: made, found, swept away. The part that other programs import."""

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lab import acme, cgroup, disk, domains, ground, image, network, power, snapshot, ssh
from lab.errors import LabError
from lab.place import Lab, locked, this_lab
from lab.record import Record, folder, load, load_all, names, save
from lab.reserve import NAME, Wish, check_name, reserve


@dataclass(frozen=True)
class Host:
    """A host as others see it; the paths are on this machine."""

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
    """Hosts that are switched on, in the order of their addresses."""
    lab = lab or this_lab()
    return [host_of(lab, r) for r in load_all(lab) if power.is_on(lab, r.name)]


def host_of(lab: Lab, record: Record) -> Host:
    return Host(
        name=record.name,
        address=record.address,
        address6=record.address6,
        domains=record.domains,
        debian=record.debian,
        ssh_config=lab.ssh_config,
        acme_directory=acme.directory(lab),
        acme_ca=acme.ca_file(lab),
        acme_root=acme.root_file(lab),
    )


def up(lab: Lab, wish: Wish) -> Host:
    """Make a host and boot it; return when it answers SSH."""
    record = reserve(lab, wish)
    try:
        return _make(lab, record)
    except BaseException:
        down(lab, record.name)
        raise


def get(lab: Lab, name: str) -> Record:
    """A host's record, or LabError naming those there are."""
    record = load(lab, name) if NAME.fullmatch(name) else None
    if record is None:
        known = ", ".join(names(lab))
        raise LabError(
            f"There is no host {name!r}. "
            + (f"There are: {known}." if known else "Make one: lab up " + name)
        )
    return record


def start(lab: Lab, record: Record) -> None:
    """Boot a stopped host and wait for SSH."""
    if power.is_on(lab, record.name):
        raise LabError(f"{record.name} is running already.")
    power.boot(lab, record)
    _serve_acme(lab, record)
    power.wait_for_ssh(lab, record)


def take_snapshot(lab: Lab, record: Record, name: str) -> None:
    """Save a host's state; a running one is shut down cleanly and started again."""
    check_name(name, "snapshot")
    snapshot.check_free(lab, name)
    was_on = power.is_on(lab, record.name)
    if was_on:
        power.off(lab, record)
    try:
        snapshot.save(lab, record, name)
    finally:
        if was_on:
            start(lab, record)


def down(lab: Lab, name: str) -> None:
    """Remove a host and all that is its own; with the last one, all that is the lab's."""
    with locked(lab.cache):
        _remove(lab, name)


def sweep(lab: Lab) -> None:
    """Remove what killed runs and dead owners left."""
    snapshot.sweep(lab)
    with locked(lab.cache):
        for name in names(lab):
            record = load(lab, name)
            if record is None or record.abandoned:
                _remove(lab, name)
        if ground.is_there(lab) and not names(lab):
            ground.clear(lab)


def _make(lab: Lab, record: Record) -> Host:
    with locked(lab.cache):
        ground.lay(lab)
    if not record.lower:
        record = replace(record, lower=(_base(lab, record.debian),))
        save(lab, record)
    network.attach(lab, record.name, record.number)
    disk.prepare(lab, record)
    power.boot(lab, record)
    _serve_acme(lab, record)
    power.wait_for_ssh(lab, record)
    save(lab, replace(record, state="ready"))
    return host_of(lab, record)


def _base(lab: Lab, debian: int) -> str:
    recipe = image.debian_recipe(debian)
    tree = image.ensure(lab, recipe, f"the Debian {debian} image", 20, partial(_layers_in_use, lab))
    return str(tree.relative_to(lab.cache))


def _serve_acme(lab: Lab, record: Record) -> None:
    recipe = acme.recipe()
    tree = image.ensure(lab, recipe, "the ACME server", 4)
    with locked(lab.cache):
        fresh, records = acme.ensure(lab, tree), load_all(lab)
        everything = [domain for other in records for domain in other.domains]
        domains.resolve(lab, everything if fresh else record.domains, records)


def _layers_in_use(lab: Lab) -> set[str]:
    return snapshot.layers_in_use(lab) | {layer for r in load_all(lab) for layer in r.lower}


def _remove(lab: Lab, name: str) -> None:
    record = load(lab, name)
    cgroup.kill(lab, name)
    cgroup.remove(lab, name)
    disk.unmount(lab, name)
    disk.is_released(lab, name)
    if record is not None:
        network.detach(lab, name, record.number)
    ground.forget_machine(lab.namespace(name))
    shutil.rmtree(folder(lab, name), ignore_errors=True)
    if not names(lab):
        ground.clear(lab)
        return
    ssh.write_config(lab)
    if record is not None and cgroup.processes(lab, acme.NAME):
        with suppress(OSError):  # a name server that does not answer leads nobody anywhere
            domains.resolve(lab, record.domains, load_all(lab))
