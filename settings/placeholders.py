"""Settings that still have the example values of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from settings.mistakes import Mistake

if TYPE_CHECKING:
    from settings.server import VM

# Reserved for documentation: addresses by RFC 5737 and RFC 3849, names by RFC 2606.
NETWORKS = [
    ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
NAMES = ("example.com", "example.net", "example.org", "example")


def placeholders(vm: VM, root: str = "") -> Iterator[Mistake]:
    """Yield a mistake for each setting with an example value; `root` prefixes its path."""
    at = f"{root}." if root else ""
    if _is_example(vm.address):
        expected, fix = "your server's address", "write its IP address or host name"
        yield Mistake(f"{at}address", expected, f'the example "{vm.address}"', fix)
    if vm.public_address and _is_example(vm.public_address):
        expected, fix = "your server's public address", "write it, or remove the setting"
        yield Mistake(f"{at}public_address", expected, f'the example "{vm.public_address}"', fix)
    for i, app in enumerate(vm.apps):
        for j, domain in enumerate(app.domains):
            if _is_example(domain):
                expected, fix = "a domain of yours", "write one that points to the server"
                path = f"{at}apps[{i}].domains[{j}]"
                yield Mistake(path, expected, f'the example "{domain}"', fix)
    if vm.tls.email and _is_example(vm.tls.email.rpartition("@")[2]):
        expected, fix = "an e-mail address of yours", "write yours, or remove `email`"
        yield Mistake(f"{at}tls.email", expected, f'the example "{vm.tls.email}"', fix)


def _is_example(value: str) -> bool:
    try:
        address = ip_address(value)
    except ValueError:
        return any(value == name or value.endswith(f".{name}") for name in NAMES)
    return any(address in network for network in NETWORKS)
