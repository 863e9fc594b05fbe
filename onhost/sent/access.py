"""List who and what has access to this server: SSH keys, sudo rights and listeners, a line each.

The deployer pipes this program over its SSH connection. The lines are recorded on servers, so their
wording must not change.
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
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
NFT = Path("/usr/sbin/nft")
# As nft prints its own rules, and those of iptables.
DNAT = re.compile(r'\b(tcp|udp) dport (\{[^}]+\}|\S+) .*(?:dnat (?:ip6? )?to|xt target "DNAT")')
SSHD = Path("/usr/sbin/sshd")
KEY = "SSH key of"
GROUPS = ("sudo", "admin", "wheel", "root")
NGINX = {("nginx", 80), ("nginx", 443)}
DHCP = {68, 546}  # UDP ports of its clients
FILE = ".ssh/authorized_keys"  # in a user's home; `authorized_keys` in the inventory sets it
SECOND = f"{FILE}2"  # sshd reads it too by default
# sshd's options for other sources of accepted keys.
KEY_OPTIONS = (
    "trustedusercakeys", "authorizedkeyscommand", "authorizedprincipalsfile",
    "authorizedprincipalscommand",
)  # fmt: skip
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EACCES}


def main(user: str) -> None:
    """Print the current and the recorded lines as JSON, without the keys of `user`."""
    known = json.loads(RECORD.read_text()) if RECORD.exists() else None
    now = {*keys(), *sudoers(), *listeners()}
    both = {"now": without(sorted(now), user), "known": known and without(known, user)}
    print(json.dumps(both))


def without(lines: list[str], user: str) -> list[str]:
    """Return the lines without a user's keys."""
    return [line for line in lines if not line.startswith(f"{KEY} {user}:")]


def keys() -> Iterator[str]:
    """Yield the keys that may log in, by user and fingerprint, and other sources of accepted keys.

    A key in another file than ~/.ssh/authorized_keys is listed with its path.
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
    for option in KEY_OPTIONS:
        if (value := sshd.get(option, "none")) != "none":
            yield f"sshd lets keys in by {option}: {value}"


def effective(*options: str, config: str | None = None) -> dict[str, str]:
    """Return sshd's effective options, by name in lower case; a repeated option has all its values,
    separated by spaces."""
    if not SSHD.exists():
        return {}
    command = [str(SSHD), "-T", *options]
    output = subprocess.run(command, input=config, capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in output.stdout.splitlines():
        name, _, value = line.partition(" ")
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def path_of(file: str, user: pwd.struct_passwd) -> Path:
    """Return the path of a user's key file, with sshd's tokens replaced."""
    tokens = {"%%": "%", "%h": user.pw_dir, "%u": user.pw_name, "%U": str(user.pw_uid)}
    for token, value in tokens.items():
        file = file.replace(token, value)
    return Path(user.pw_dir, file)


@contextmanager
def _as(user: pwd.struct_passwd) -> Iterator[None]:
    """Read files with a user's rights, as sshd does, so that links expose nothing else."""
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
    """Return the data of each key in a file, without its options and type. Raises OSError."""
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
    """Yield who may become root: sudo rules, members of admin groups, and users with id 0."""
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
    """Yield the listeners beyond the loopback address, and the ports that are forwarded past the
    firewall, as by Docker.

    Ephemeral UDP ports are left out, as they belong to clients and change all the time.
    """
    first_ephemeral = int(EPHEMERAL_PORTS.read_text().split()[0])
    for port, program, _ in server.sockets("-t"):
        if (program, port) not in NGINX:
            yield f"listener on port {port}: {program}"
    for port, program, _ in server.sockets("-u"):
        if port < first_ephemeral and port not in DHCP:
            yield f"listener on UDP port {port}: {program}"
    yield from forwarded()


def forwarded() -> Iterator[str]:
    """Yield the ports that DNAT rules forward: they bypass the filter of incoming packets."""
    if not NFT.exists():
        return
    command = [str(NFT), "list", "ruleset"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for kind, port in DNAT.findall(text):
        yield f"forwarded past the firewall: {kind} port {port}"
