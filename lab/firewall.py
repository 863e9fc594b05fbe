"""NAT for guests: forwarding, and an nftables table with masquerade."""

import json
import re
import shutil
from pathlib import Path

from lab.command import attempt, run
from lab.layout import Lab
from lab.network import subnet

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
ALIAS = "onebox-lab ip_forward="


def enable_nat(lab: Lab) -> None:
    """Enable NAT; the bridge's alias keeps the machine's previous ip_forward."""
    previous = next(iter(labs().values()), None) or FORWARD.read_text().strip()
    run("ip", "link", "set", lab.bridge, "alias", f"{ALIAS}{previous}")
    FORWARD.write_text("1")
    run("nft", "-f", "-", text=rules(lab))
    for rule in _forward_rules(lab) if _drops_by_policy() else []:
        if not attempt("iptables", "-C", *rule):
            run("iptables", "-I", *rule)


def disable_nat(lab: Lab) -> None:
    """Undo `enable_nat`; forwarding stays on while another lab needs it."""
    running = labs()
    if list(running) == [lab.bridge]:
        FORWARD.write_text(running[lab.bridge])
    attempt("nft", "delete", "table", "inet", lab.table)
    if shutil.which("iptables"):
        for rule in _forward_rules(lab):
            attempt("iptables", "-D", *rule)


def rules(lab: Lab) -> str:
    """The nftables table, replaced as a whole."""
    bridge, source = lab.bridge, subnet(lab).v4
    return f"""\
table inet {lab.table} {{}}
delete table inet {lab.table}
table inet {lab.table} {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" accept
    oifname "{bridge}" accept
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {source} oifname != "{bridge}" masquerade
  }}
}}
"""


def _forward_rules(lab: Lab) -> list[list[str]]:
    return [["FORWARD", option, lab.bridge, "-j", "ACCEPT"] for option in ("-i", "-o")]


def _drops_by_policy() -> bool:
    # Docker sets this policy; an accept in our table can't overrule another table's drop.
    if not shutil.which("iptables"):
        return False
    return run("iptables", "-S", "FORWARD").startswith("-P FORWARD DROP")


def labs() -> dict[str, str]:
    """Bridges of this machine's labs, each with the previous value of ip_forward."""
    links = json.loads(run("ip", "-json", "link", "show", "type", "bridge") or "[]")
    found = {link["ifname"]: re.match(f"{ALIAS}(\\d)", link.get("ifalias", "")) for link in links}
    return {name: match[1] for name, match in found.items() if match}
