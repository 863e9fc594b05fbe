"""Who and what gets at this server: keys, sudo rights, listening programs. One line each.

The deployer sends this program over its own SSH connection. It prints what there is now, and what
was on record.
"""

from __future__ import annotations

import base64
import binascii
import grp
import hashlib
import json
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RECORD = Path("/var/lib/onebox/access.json")
CHOSEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
KEY = "SSH key of"
GROUPS = ("sudo", "admin", "wheel", "root")
OURS = {("nginx", 80), ("nginx", 443)}
DHCP = {68, 546}  # UDP ports that a server gets its address at


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
    """Yield the keys that may log in, by user and fingerprint."""
    for user in pwd.getpwall():
        for name in ("authorized_keys", "authorized_keys2"):
            for blob in _keys_in(Path(user.pw_dir, ".ssh", name)):
                digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
                yield f"{KEY} {user.pw_name}: SHA256:{digest}"


def _keys_in(path: Path) -> Iterator[bytes]:
    """Yield the content of each key; options and its kind stand before it."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = [] if line.lstrip().startswith("#") else line.split()
        if key := next((word for word in words if word.startswith("AAAA")), ""):
            try:
                yield base64.b64decode(key)
            except binascii.Error:
                yield key.encode()


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
    """Yield what listens beyond the loopback address, by port and program.

    For UDP, a port that the kernel chose is an asker's: what it is changes from hour to hour.
    """
    chosen = int(CHOSEN.read_text().split()[0])
    for program, port in _sockets("--tcp"):
        if (program, port) not in OURS:
            yield f"listener on port {port}: {program}"
    for program, port in _sockets("--udp"):
        if port < chosen and port not in DHCP:
            yield f"listener on UDP port {port}: {program}"


def _sockets(kind: str) -> Iterator[tuple[str, int]]:
    command = ["ss", "--no-header", "--listening", "--numeric", "--processes", kind]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        fields = line.split()
        address, _, port = fields[3].rpartition(":")
        if not address.strip("[]").startswith(("127.", "::1", "::ffff:127.")):
            program = fields[5].split('"')[1] if len(fields) > 5 and '"' in fields[5] else "?"
            yield program, int(port)


if __name__ == "__main__":
    main(sys.argv[1])
