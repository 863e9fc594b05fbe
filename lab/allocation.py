"""Allocate a new host's name, number and addresses."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab import acme, network, process, snapshot
from lab.errors import LabError
from lab.layout import Lab, locked
from lab.machine import SUITES
from lab.registry import HostEntry, load_all, names, save

NAME = re.compile(r"[a-z][a-z0-9-]{0,20}")
ZONE = "onebox.test"


@dataclass(frozen=True)
class HostRequest:
    """The options of `up`; sizes in bytes."""

    name: str | None = None
    debian: int | None = None
    memory: int | None = None
    cpus: int | None = None
    disk: int | None = None
    snapshot: str | None = None
    domains: Sequence[str] = ()
    owner: int | None = None


def allocate(lab: Lab, request: HostRequest) -> HostEntry:
    """Save a new host's entry, before the host is created."""
    origin = snapshot.load(lab, request.snapshot) if request.snapshot else None
    if origin and request.debian not in {None, origin.debian}:
        raise LabError(f"Snapshot {origin.name!r} is of Debian {origin.debian}: omit --debian.")
    owner = _owner(request.owner)
    with locked(lab.cache):
        name = _free_name(lab, request.name)
        number = _free_number(lab)
        lab.hosts.mkdir(mode=0o700, parents=True, exist_ok=True)
        net = network.subnet(lab)
        inherited = origin.domains if origin else ()
        entry = HostEntry(
            name=name,
            number=number,
            debian=origin.debian if origin else request.debian or max(SUITES),
            address=net.address(number),
            address6=net.address6(number),
            domains=tuple(dict.fromkeys((f"{name}.{ZONE}", *request.domains, *inherited))),
            memory=request.memory,
            cpus=request.cpus,
            disk=request.disk,
            lower=origin.lower if origin else (),
            creator=process.myself(),
            owner=owner,
            created=time.time(),
        )
        save(lab, entry)
    return entry


def check_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(
            f"{name!r} is not a valid name for a {what}: use a lower-case letter, then up to 20 "
            "lower-case letters, digits and hyphens, such as 'web-1'."
        )


def _free_name(lab: Lab, name: str | None) -> str:
    used = set(names(lab))
    if name is None:
        return next(f"lab{n}" for n in range(1, 1000) if f"lab{n}" not in used)
    check_name(name, "host")
    if name == acme.NAME:
        raise LabError(f"{name!r} is reserved for the lab's ACME server. Use another name.")
    if name in used:
        raise LabError(
            f"Host {name!r} already exists. Use another name, or remove it: lab down {name}"
        )
    return name


def _free_number(lab: Lab) -> int:
    used = {entry.number for entry in load_all(lab)}
    for number in range(network.FIRST_HOST, network.LAST_HOST + 1):
        if number not in used:
            return number
    raise LabError("All addresses of the lab are in use. Remove hosts: lab down NAME")


def _owner(pid: int | None) -> process.Process | None:
    if pid is None:
        return None
    found = process.find(pid)
    if found is None:
        raise LabError(f"--owner {pid}: no such process.")
    return found
