"""The DNS server that the lab's ACME server queries: challtestsrv."""

import json
import urllib.request
from collections.abc import Iterable

from lab import network
from lab.layout import Lab
from lab.registry import HostEntry

DNS, MANAGEMENT = 8053, 8055


def server(lab: Lab) -> str:
    return f"{network.subnet(lab).address(network.ACME)}:{DNS}"


def arguments() -> list[str]:
    """Options for challtestsrv: DNS only, and no default address for unknown names."""
    off = [f"-{name}=" for name in ("http01", "https01", "tlsalpn01", "doh")]
    unknown = ["-defaultIPv4=", "-defaultIPv6="]
    # Its DNS port is the default one: the flag is -dns01 in 2.6.0 and -dnsserver in 2.10.0.
    return [*off, *unknown, f"-management=:{MANAGEMENT}"]


def resolve(lab: Lab, domains: Iterable[str], entries: Iterable[HostEntry]) -> None:
    """Point these domains at their hosts; the newest host gets a shared one."""
    newest_first = sorted(entries, key=lambda entry: -entry.created)
    for domain in domains:
        holders = (entry for entry in newest_first if domain in entry.domains)
        point(lab, domain, next(holders, None))


def point(lab: Lab, domain: str, holder: HostEntry | None) -> None:
    """Point a domain at one host, or at none; raise OSError if the server is down."""
    _post(lab, "clear-a", host=domain)
    _post(lab, "clear-aaaa", host=domain)
    if holder is not None:
        _post(lab, "add-a", host=domain, addresses=[holder.address])
        _post(lab, "add-aaaa", host=domain, addresses=[holder.address6])


def _post(lab: Lab, command: str, **body: object) -> None:
    address = network.subnet(lab).address(network.ACME)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{address}:{MANAGEMENT}/{command}"
    opener.open(url, data=json.dumps(body).encode(), timeout=5).close()
