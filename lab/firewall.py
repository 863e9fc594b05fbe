"""The way out for guests: forwarding, and a table of our own with masquerade."""

import json
import re
import shutil
from pathlib import Path

from lab.command import attempt, run
from lab.network import subnet
from lab.place import Lab

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
ALIAS = "onebox-lab ip_forward="


def open_way(lab: Lab) -> None:
    """Let guests out; the machine's former setting is kept on the bridge itself."""
    former = next(iter(labs().values()), None) or FORWARD.read_text().strip()
    run("ip", "link", "set", lab.bridge, "alias", f"{ALIAS}{former}")
    FORWARD.write_text("1")
    run("nft", "-f", "-", text=rules(lab))
    for rule in _forward_rules(lab) if _drops_by_policy() else []:
        if not attempt("iptables", "-C", *rule):
            run("iptables", "-I", *rule)


def close_way(lab: Lab) -> None:
    """Undo `open_way`; forwarding stays on as long as another lab needs it."""
    standing = labs()
    if list(standing) == [lab.bridge]:
        FORWARD.write_text(standing[lab.bridge])
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
    return [["FORWARD", way, lab.bridge, "-j", "ACCEPT"] for way in ("-i", "-o")]


def _drops_by_policy() -> bool:
    # Docker sets this policy; an accept in a table of ours can't overrule another table's drop.
    if not shutil.which("iptables"):
        return False
    return run("iptables", "-S", "FORWARD").startswith("-P FORWARD DROP")


def labs() -> dict[str, str]:
    """Bridges of the labs on this machine, each with the former value of ip_forward."""
    links = json.loads(run("ip", "-json", "link", "show", "type", "bridge") or "[]")
    found = {link["ifname"]: re.match(f"{ALIAS}(\\d)", link.get("ifalias", "")) for link in links}
    return {name: match[1] for name, match in found.items() if match}
