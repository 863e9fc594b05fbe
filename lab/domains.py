"""The DNS that the lab's ACME server asks: challtestsrv, which knows what it is told."""

import json
import urllib.request
from collections.abc import Iterable

from lab import network
from lab.place import Lab
from lab.record import Record

DNS, MANAGEMENT = 8053, 8055


def server(lab: Lab) -> str:
    return f"{network.subnet(lab).address(network.ACME)}:{DNS}"


def arguments() -> list[str]:
    """challtestsrv as a name server alone, without its answer to every question."""
    off = [f"-{name}=" for name in ("http01", "https01", "tlsalpn01", "doh")]
    unknown = ["-defaultIPv4=", "-defaultIPv6="]
    # Its DNS port is the default one: the flag is -dns01 in 2.6.0 and -dnsserver in 2.10.0.
    return [*off, *unknown, f"-management=:{MANAGEMENT}"]


def resolve(lab: Lab, domains: Iterable[str], records: Iterable[Record]) -> None:
    """Have these domains lead to their hosts; the newest holds a shared one, or else nobody."""
    newest_first = sorted(records, key=lambda record: -record.created)
    for domain in domains:
        holders = (record for record in newest_first if domain in record.domains)
        point(lab, domain, next(holders, None))


def point(lab: Lab, domain: str, holder: Record | None) -> None:
    """Have a domain lead to a host alone, or nowhere; raise OSError if the server is not up."""
    _tell(lab, "clear-a", host=domain)
    _tell(lab, "clear-aaaa", host=domain)
    if holder is not None:
        _tell(lab, "add-a", host=domain, addresses=[holder.address])
        _tell(lab, "add-aaaa", host=domain, addresses=[holder.address6])


def _tell(lab: Lab, command: str, **body: object) -> None:
    address = network.subnet(lab).address(network.ACME)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{address}:{MANAGEMENT}/{command}"
    opener.open(url, data=json.dumps(body).encode(), timeout=5).close()
