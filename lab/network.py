"""The lab's bridge, and for each host a network namespace attached to it."""

import ipaddress
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from lab import machine, mounts
from lab.command import attempt, run
from lab.errors import LabError
from lab.layout import Lab
from lab.registry import write_atomically

NETNS = Path("/run/netns")
GATEWAY, ACME, FIRST_HOST, LAST_HOST = 1, 2, 11, 254


@dataclass(frozen=True)
class Subnet:
    """IPv4 (reaches the Internet by NAT) and IPv6 (a ULA: reaches this machine and the lab)."""

    v4: IPv4Network
    v6: IPv6Network

    def address(self, number: int) -> str:
        return str(self.v4[number])

    def address6(self, number: int) -> str:
        return str(self.v6[number])


def subnet(lab: Lab) -> Subnet:
    """The lab's addresses: the saved ones, or the first free ones."""
    known = lab.root / "network.json"
    if not known.exists():
        chosen = _choose(lab)
        write_atomically(known, json.dumps({"v4": str(chosen.v4), "v6": str(chosen.v6)}))
    data = json.loads(known.read_text())
    return Subnet(IPv4Network(data["v4"]), IPv6Network(data["v6"]))


def has_bridge(lab: Lab) -> bool:
    return attempt("ip", "link", "show", lab.bridge)


def bridge_up(lab: Lab) -> None:
    """Create the bridge unless it exists."""
    net = subnet(lab)
    if not has_bridge(lab):
        run("ip", "link", "add", lab.bridge, "mtu", str(machine.mtu()), "type", "bridge")
    run("ip", "address", "replace", f"{net.address(GATEWAY)}/24", "dev", lab.bridge)
    run("ip", "address", "replace", f"{net.address6(GATEWAY)}/64", "dev", lab.bridge, "nodad")
    run("ip", "link", "set", lab.bridge, "up")


def bridge_down(lab: Lab) -> None:
    attempt("ip", "link", "delete", lab.bridge)


def attach(lab: Lab, name: str, number: int) -> None:
    """Create a namespace, and in it eth0 with that number's addresses."""
    net, space, veth = subnet(lab), lab.namespace(name), lab.veth(number)
    run("ip", "netns", "add", space)
    run(
        *("ip", "link", "add", veth, "mtu", str(machine.mtu()), "type", "veth"),
        *("peer", "name", "eth0", "address", hardware_address(number), "netns", space),
    )
    run("ip", "link", "set", veth, "master", lab.bridge, "up")
    commands = (
        "link set lo up",
        f"link set eth0 mtu {machine.mtu()} up",
        f"address add {net.address(number)}/24 dev eth0",
        f"address add {net.address6(number)}/64 dev eth0 nodad",
        f"route add default via {net.address(GATEWAY)}",
    )
    run("ip", "-netns", space, "-batch", "-", text="\n".join(commands))


def hardware_address(number: int) -> str:
    """One for each address: with another, ARP caches hide the address's next host for 40 s."""
    return f"02:00:6f:62:00:{number:02x}"


def detach(lab: Lab, name: str, number: int) -> None:
    """Undo `attach`, also one that was interrupted."""
    # Deleting our end deletes the other at once; the kernel removes a namespace later.
    attempt("ip", "link", "delete", lab.veth(number))
    if (NETNS / lab.namespace(name)).exists():
        run("ip", "netns", "delete", lab.namespace(name))


def remove_empty_netns() -> None:
    """Unmount /run/netns, which `ip netns add` mounts and leaves."""
    if mounts.is_mounted(NETNS) and not any(NETNS.iterdir()):
        attempt("umount", NETNS)
        NETNS.rmdir()


def _choose(lab: Lab) -> Subnet:
    used = [ipaddress.ip_network(known, strict=False) for known in _in_use()]
    for third, candidate in _candidates(lab):
        if not any(candidate.overlaps(net) for net in used if net.version == 4):
            return Subnet(candidate, IPv6Network(f"fd6f:6e65:626f:78{third:02x}::/64"))
    raise LabError(
        "No free addresses for the lab: this machine already uses all of 10.213.0.0/16 "
        "and 198.18.0.0/16. Remove one of those routes (see `ip route`)."
    )


def _candidates(lab: Lab) -> Iterator[tuple[int, IPv4Network]]:
    # "onebox" is 6f 6e 65 62 6f 78; each lab starts its search at another subnet.
    start = 0 if lab.prefix == "onebox" else zlib.crc32(lab.prefix.encode()) % 256
    for base in ("10.213", "198.18"):
        for step in range(256):
            third = (start + step) % 256
            yield third, IPv4Network(f"{base}.{third}.0/24")


def _in_use() -> list[str]:
    routes = json.loads(run("ip", "-json", "route", "show", "table", "all") or "[]")
    known = [str(route["dst"]) for route in routes if route["dst"] != "default"]
    servers = [line.split() for line in machine.resolv_conf().splitlines()]
    return known + [words[1] for words in servers if words[:1] == ["nameserver"]]
