"""Conflicts: what two servers, or two apps of one server, can't share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from settings.mistakes import Mistake
from settings.values import secret_prefix


class Claim(NamedTuple):
    """A value that must be unique, and the path of the setting that has it."""

    kind: str
    value: str
    path: str


def server_paths(vms: Sequence[object]) -> list[str]:
    """Return the path of each server in mistakes; empty if there is only one."""
    return [""] if len(vms) == 1 else [f"servers[{i}]" for i in range(len(vms))]


def conflicts(vms: Sequence[object]) -> Iterator[Mistake]:
    """Yield a mistake for each duplicate; the settings need not be valid otherwise.

    Servers may not share an address: pyinfra would keep only the last of them.
    """
    pairs = zip(vms, server_paths(vms), strict=True)
    servers = [(vm, path) for vm, path in pairs if isinstance(vm, Mapping)]
    for vm, path in servers:
        for claim, first in _duplicates(_claims(vm, f"{path}.apps".removeprefix("."))):
            expected = f"a {claim.kind} that no other app has"
            found = f'"{claim.value}", which {first} has'
            fix = f"give one of the two another {claim.kind}"
            yield Mistake(claim.path, expected, found, fix)
    addresses = (Claim("address", str(vm.get("address", path)), path) for vm, path in servers)
    for claim, first in _duplicates(addresses):
        expected, found = "an address that no other server has", f'"{claim.value}"'
        fix = f"move its apps into {first}, which has the same address"
        yield Mistake(f"{claim.path}.address", expected, found, fix)


def _duplicates(claims: Iterator[Claim]) -> Iterator[tuple[Claim, str]]:
    """Yield each later claim of a value, and the path of the first."""
    paths: dict[tuple[str, str], str] = {}
    for claim in claims:
        first = paths.setdefault((claim.kind, claim.value), claim.path)
        if first != claim.path:
            yield claim, first


def _claims(vm: Mapping[str, Any], root: str) -> Iterator[Claim]:
    for i, app in enumerate(_as_list(vm, "apps")):
        if isinstance(app, Mapping):
            yield Claim("name", str(app.get("name", f"apps[{i}]")), f"{root}[{i}].name")
            for j, domain in enumerate(_as_list(app, "domains")):
                yield Claim("domain", str(domain), f"{root}[{i}].domains[{j}]")
            for key in ("secrets", "install_secrets"):
                for j, secret in enumerate(_as_list(app, key)):
                    variable = f"{secret_prefix(str(app.get('name', i)))}{secret}"
                    yield Claim("variable", variable, f"{root}[{i}].{key}[{j}]")


def _as_list(settings: Mapping[str, Any], key: str) -> list[Any]:
    value = settings.get(key)
    return list(value) if isinstance(value, (list, tuple)) else []
