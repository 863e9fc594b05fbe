"""A host's identity, written into its copy of the image before it boots."""

import os
import uuid
from pathlib import Path

from lab import disk, machine, ssh
from lab.command import run
from lab.image import USER
from lab.layout import Lab
from lab.registry import HostEntry, folder, write_atomically


def personalise(lab: Lab, entry: HostEntry) -> None:
    """Write name, resolver, keys and machine id into the mounted root.

    A copy of a snapshot keeps its machine id and SSH host keys: like a restored VM it is
    the same server, with the same journal, and clients still accept its key.
    """
    top = disk.root(lab, entry.name)
    _put(top / "etc/hostname", f"{entry.name}\n")
    _put(top / "etc/hosts", _hosts(entry))
    _put(top / "etc/resolv.conf", machine.resolv_conf())
    if not (top / "etc/machine-id").exists():
        _put(top / "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    key = ssh.ensure_key(lab)
    for user, home in (("root", top / "root"), (USER, top / "home" / USER)):
        _authorise(home / ".ssh", key, _owner(top, user))
    _host_keys(lab, entry, top)
    if entry.disk:
        run("sync", "--file-system", top)


def _hosts(entry: HostEntry) -> str:
    names = " ".join([*entry.domains, entry.name])
    return (
        f"127.0.0.1 localhost\n127.0.1.1 {names}\n"
        "::1 localhost ip6-localhost ip6-loopback\n"
        "ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )


def _authorise(ssh_folder: Path, key: str, owner: tuple[int, int]) -> None:
    ssh_folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(ssh_folder, *owner, follow_symlinks=False)
    listed = ssh_folder / "authorized_keys"
    known = "" if listed.is_symlink() or not listed.exists() else listed.read_text()
    if key not in known:
        _put(listed, known + key, 0o600)
        os.chown(listed, *owner)


def _owner(top: Path, user: str) -> tuple[int, int]:
    # The guest's user and group IDs, not this machine's.
    for line in (top / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == user:
            return int(fields[2]), int(fields[3])
    return 0, 0


def _host_keys(lab: Lab, entry: HostEntry, top: Path) -> None:
    run("ssh-keygen", "-A", "-f", top)
    public = sorted((top / "etc/ssh").glob("ssh_host_*_key.pub"))
    lines = [" ".join(path.read_text().split()[:2]) + "\n" for path in public]
    write_atomically(folder(lab, entry.name) / ssh.HOST_KEYS, "".join(lines))


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    # Replace a link, never follow it: it could point outside the guest's tree.
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
