"""Who and what gets at this server: keys, sudo rights, listening programs. One line each.

The deployer sends this program over its own SSH connection. It prints what there is now, and what
was on record.
"""

from __future__ import annotations

import base64
import binascii
import errno
import grp
import hashlib
import json
import os
import pwd
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onebox_release.host import untrusted

from sent import server

RECORD = Path("/var/lib/onebox/access.json")
CHOSEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
NFT = Path("/usr/sbin/nft")
# As nft writes it, and as it shows a rule of iptables'.
DNAT = re.compile(r'\b(tcp|udp) dport (\{[^}]+\}|\S+) .*(?:dnat (?:ip6? )?to|xt target "DNAT")')
SSHD = Path("/usr/sbin/sshd")
KEY = "SSH key of"
GROUPS = ("sudo", "admin", "wheel", "root")
OURS = {("nginx", 80), ("nginx", 443)}
DHCP = {68, 546}  # UDP ports that a server gets its address at
FILE = ".ssh/authorized_keys"  # in a user's home; `authorized_keys` in the inventory decides it
SECOND = f"{FILE}2"  # sshd reads it, too, unless it is set not to
# Other ways to let a key in, by sshd's names for them.
WAYS = (
    "trustedusercakeys", "authorizedkeyscommand", "authorizedprincipalsfile",
    "authorizedprincipalscommand",
)  # fmt: skip
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EACCES}


def main(user: str) -> None:
    """Print both as one JSON document, without the keys of `user`, which a setting decides."""
    known = json.loads(RECORD.read_text()) if RECORD.exists() else None
    now = {*keys(), *sudoers(), *listeners()}
    both = {"now": without(sorted(now), user), "known": known and without(known, user)}
    print(json.dumps(both))


def without(lines: list[str], user: str) -> list[str]:
    """Return the lines but for a user's keys."""
    return [line for line in lines if not line.startswith(f"{KEY} {user}:")]


def keys() -> Iterator[str]:
    """Yield the keys that may log in, by user and fingerprint; and what else lets keys in.

    A key in another file than ~/.ssh/authorized_keys is reported with its path.
    """
    sshd = effective()
    files = sshd.get("authorizedkeysfile", "").split()
    for user in pwd.getpwall():
        for file in dict.fromkeys([FILE, SECOND, *files]):
            if file == "none":
                continue
            where = "" if file == FILE else f" in {file}"
            try:
                with _as(user):
                    blobs = keys_in(path_of(file, user))
            except OSError as error:
                if error.errno not in ABSENT:
                    yield f"{KEY} {user.pw_name}{where}: can't be read ({error.strerror or error})"
                continue
            for blob in blobs:
                digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
                yield f"{KEY} {user.pw_name}{where}: SHA256:{digest}"
    for way in WAYS:
        if (value := sshd.get(way, "none")) != "none":
            yield f"sshd lets keys in by {way}: {value}"


def effective(*options: str, given: str | None = None) -> dict[str, str]:
    """Return sshd's settings as it reads them, by name in lower case; a name that comes twice has
    both values, with a space between."""
    if not SSHD.exists():
        return {}
    command = [str(SSHD), "-T", *options]
    output = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in output.stdout.splitlines():
        name, _, value = line.partition(" ")
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def path_of(file: str, user: pwd.struct_passwd) -> Path:
    """Return a user's file of keys, as sshd finds it."""
    tokens = {"%%": "%", "%h": user.pw_dir, "%u": user.pw_name, "%U": str(user.pw_uid)}
    for token, value in tokens.items():
        file = file.replace(token, value)
    return Path(user.pw_dir, file)


@contextmanager
def _as(user: pwd.struct_passwd) -> Iterator[None]:
    """Read with a user's own rights, as sshd does: a link leads to what the user can read."""
    if os.geteuid() or not user.pw_uid:
        yield
        return
    groups = os.getgroups()
    try:
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def keys_in(path: Path) -> list[bytes]:
    """Return the content of each key; options and its kind stand before it. Raises OSError."""
    found = []
    for line in untrusted.read(path, links=True).decode(errors="replace").splitlines():
        words = [] if line.lstrip().startswith("#") else line.split()
        if key := next((word for word in words if word.startswith("AAAA")), ""):
            try:
                found.append(base64.b64decode(key))
            except binascii.Error:
                found.append(key.encode())
    return found


def sudoers() -> Iterator[str]:
    """Yield who may become root: sudo's rules, members of its groups, other users with id 0."""
    for path in [Path("/etc/sudoers"), *sorted(Path("/etc/sudoers.d").glob("*"))]:
        if path.is_file():
            for line in path.read_text(errors="replace").replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith(("#", "@include")):
                    yield f"sudo rule in {path}: {' '.join(line.split())}"
    for group in grp.getgrall():
        if group.gr_name in GROUPS:
            yield from (f"member of the group {group.gr_name}: {name}" for name in group.gr_mem)
    yield from (f"user with root's id: {u.pw_name}" for u in pwd.getpwall() if u.pw_uid == 0)


def listeners() -> Iterator[str]:
    """Yield what listens beyond the loopback address, by port and program, and what is forwarded
    past our firewall, as Docker does.

    For UDP, a port that the kernel chose is an asker's: what it is changes from hour to hour.
    """
    chosen = int(CHOSEN.read_text().split()[0])
    for port, program, _ in server.sockets("-t"):
        if (program, port) not in OURS:
            yield f"listener on port {port}: {program}"
    for port, program, _ in server.sockets("-u"):
        if port < chosen and port not in DHCP:
            yield f"listener on UDP port {port}: {program}"
    yield from forwarded()


def forwarded() -> Iterator[str]:
    """Yield the ports that a rule hands to another address: no filter for the server sees them."""
    if not NFT.exists():
        return
    command = [str(NFT), "list", "ruleset"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for kind, port in DNAT.findall(text):
        yield f"forwarded past the firewall: {kind} port {port}"
