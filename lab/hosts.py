"""The lab's hosts: made, found, swept away. The part that other programs import."""

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab import acme, cgroup, disk, ground, image, network, power, process, snapshot, ssh
from lab.errors import LabError
from lab.machine import SUITES
from lab.place import Lab, locked, this_lab
from lab.record import Record, folder, load, load_all, names, save

NAME = re.compile(r"[a-z][a-z0-9-]{0,20}")
ZONE = "onebox.test"


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


@dataclass(frozen=True)
class Wish:
    """What `up` is asked for; sizes in bytes."""

    name: str | None = None
    debian: int | None = None
    memory: int | None = None
    cpus: int | None = None
    disk: int | None = None
    snapshot: str | None = None
    domains: Sequence[str] = ()
    owner: int | None = None


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
    record = _reserve(lab, wish)
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


def check_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(
            f"{name!r} is no name for a {what}: use a lower-case letter, then up to 20 "
            "lower-case letters, digits and hyphens, such as 'web-1'."
        )


def _reserve(lab: Lab, wish: Wish) -> Record:
    origin = snapshot.load(lab, wish.snapshot) if wish.snapshot else None
    if origin and wish.debian not in {None, origin.debian}:
        raise LabError(
            f"Snapshot {origin.name!r} is of Debian {origin.debian}: leave --debian away."
        )
    with locked(lab.cache):
        name = _free_name(lab, wish.name)
        number = _free_number(lab)
        lab.hosts.mkdir(mode=0o700, parents=True, exist_ok=True)
        net = network.subnet(lab)
        inherited = origin.domains if origin else ()
        record = Record(
            name=name,
            number=number,
            debian=origin.debian if origin else wish.debian or max(SUITES),
            address=net.address(number),
            address6=net.address6(number),
            domains=tuple(dict.fromkeys((f"{name}.{ZONE}", *wish.domains, *inherited))),
            memory=wish.memory,
            cpus=wish.cpus,
            disk=wish.disk,
            lower=origin.lower if origin else (),
            creator=process.myself(),
            owner=_owner(wish.owner),
            created=time.time(),
        )
        save(lab, record)
        ground.lay(lab)
    return record


def _make(lab: Lab, record: Record) -> Host:
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
    tree = image.ensure(lab, recipe, f"the Debian {debian} image", about=20)
    image.prune(lab, recipe, _layers_in_use(lab))
    return str(tree.relative_to(lab.cache))


def _serve_acme(lab: Lab, record: Record) -> None:
    recipe = acme.recipe()
    tree = image.ensure(lab, recipe, "the ACME server", about=4)
    image.prune(lab, recipe, set())
    with locked(lab.cache):
        fresh, records = acme.ensure(lab, tree), load_all(lab)
        everything = [domain for other in records for domain in other.domains]
        acme.resolve(lab, everything if fresh else record.domains, records)


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
        acme.resolve(lab, record.domains, load_all(lab))


def _free_name(lab: Lab, asked: str | None) -> str:
    taken = set(names(lab))
    if asked is None:
        return next(f"lab{n}" for n in range(1, 1000) if f"lab{n}" not in taken)
    check_name(asked, "host")
    if asked == acme.NAME:
        raise LabError(f"{asked!r} is the lab's own ACME server. Take another name.")
    if asked in taken:
        raise LabError(
            f"There is a host {asked!r} already. Take another name, or remove it: lab down {asked}"
        )
    return asked


def _free_number(lab: Lab) -> int:
    taken = {record.number for record in load_all(lab)}
    for number in range(network.FIRST_HOST, network.LAST_HOST + 1):
        if number not in taken:
            return number
    raise LabError("All addresses of the lab are taken. Remove hosts: lab down NAME")


def _owner(pid: int | None) -> process.Process | None:
    if pid is None:
        return None
    found = process.find(pid)
    if found is None:
        raise LabError(f"--owner {pid}: there is no such process.")
    return found
