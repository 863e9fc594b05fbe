"""What two servers, or two apps of one server, can't both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from settings.mistakes import Mistake
from settings.values import secret_prefix


class Claim(NamedTuple):
    """Something that one server or app has for itself, and where it says so."""

    what: str
    value: str
    place: str


def places(vms: Sequence[object]) -> list[str]:
    """Return how a mistake names each server: not at all, where there is only one."""
    return [""] if len(vms) == 1 else [f"servers[{i}]" for i in range(len(vms))]


def used_twice(vms: Sequence[object]) -> Iterator[Mistake]:
    """Yield what is claimed a second time, whatever else is wrong with who claims it.

    Servers may not share an address: pyinfra would forget all but the last of them.
    """
    servers = [(vm, at) for vm, at in zip(vms, places(vms), strict=True) if isinstance(vm, Mapping)]
    for vm, place in servers:
        for claim, first in _again(_of_apps(vm, f"{place}.apps".removeprefix("."))):
            expected = f"a {claim.what} that no other app has"
            found = f'"{claim.value}", which {first} has'
            mend = f"give one of the two another {claim.what}"
            yield Mistake(claim.place, expected, found, mend)
    for claim, first in _again(Claim("", str(vm.get("address", at)), at) for vm, at in servers):
        expected, found = "an address that no other server has", f'"{claim.value}"'
        mend = f"put its apps into {first}, which has the same"
        yield Mistake(f"{claim.place}.address", expected, found, mend)


def _again(claims: Iterator[Claim]) -> Iterator[tuple[Claim, str]]:
    """Yield each claim of what is taken, and the place of the first one."""
    first: dict[tuple[str, str], str] = {}
    for claim in claims:
        taken = first.setdefault((claim.what, claim.value), claim.place)
        if taken != claim.place:
            yield claim, taken


def _of_apps(vm: Mapping[str, Any], root: str) -> Iterator[Claim]:
    for i, app in enumerate(_listed(vm, "apps")):
        if isinstance(app, Mapping):
            yield Claim("name", str(app.get("name", f"apps[{i}]")), f"{root}[{i}].name")
            for j, domain in enumerate(_listed(app, "domains")):
                yield Claim("domain", str(domain), f"{root}[{i}].domains[{j}]")
            for key in ("secrets", "install_secrets"):
                for j, secret in enumerate(_listed(app, key)):
                    variable = f"{secret_prefix(str(app.get('name', i)))}{secret}"
                    yield Claim("variable", variable, f"{root}[{i}].{key}[{j}]")


def _listed(settings: Mapping[str, Any], key: str) -> list[Any]:
    value = settings.get(key)
    return list(value) if isinstance(value, (list, tuple)) else []
