"""What a new host is to be: its name, number and addresses, checked and written down."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab import acme, network, process, snapshot
from lab.errors import LabError
from lab.machine import SUITES
from lab.place import Lab, locked
from lab.record import Record, load_all, names, save

NAME = re.compile(r"[a-z][a-z0-9-]{0,20}")
ZONE = "onebox.test"


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


def reserve(lab: Lab, wish: Wish) -> Record:
    """Write down a new host, before anything of it is made."""
    origin = snapshot.load(lab, wish.snapshot) if wish.snapshot else None
    if origin and wish.debian not in {None, origin.debian}:
        raise LabError(
            f"Snapshot {origin.name!r} is of Debian {origin.debian}: leave --debian away."
        )
    owner = _owner(wish.owner)
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
            owner=owner,
            created=time.time(),
        )
        save(lab, record)
    return record


def check_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(
            f"{name!r} is no name for a {what}: use a lower-case letter, then up to 20 "
            "lower-case letters, digits and hyphens, such as 'web-1'."
        )


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
