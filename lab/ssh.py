"""One ssh_config for pyinfra, testinfra, fabric and manual use."""

import os
import subprocess
from typing import NoReturn

from lab.command import run
from lab.layout import Lab
from lab.registry import HostEntry, folder, load_all, write_atomically

HOST_KEYS = "host_keys.pub"


def ensure_key(lab: Lab) -> str:
    """The lab's public key; the pair is created with the first host and removed with the last."""
    key = lab.root / "id_ed25519"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.cgroup, "-f", key)
    return key.with_suffix(".pub").read_text()


def write_config(lab: Lab) -> None:
    """Rewrite ssh_config and known_hosts from the registry."""
    entries = load_all(lab)
    write_atomically(lab.root / "known_hosts", "".join(_known(lab, entry) for entry in entries))
    write_atomically(lab.ssh_config, "\n".join(_stanza(lab, entry) for entry in entries))


def answers(lab: Lab, name: str) -> bool:
    """Whether a login works, not only the port."""
    command = [*_ssh(lab), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", name, "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def exec_ssh(lab: Lab, name: str, command: list[str]) -> NoReturn:
    """Replace this process by ssh, which keeps the terminal and the exit status."""
    os.execvp("ssh", [*_ssh(lab), name, *command])  # noqa: S606 - no shell is wanted


def _ssh(lab: Lab) -> list[str]:
    return ["ssh", "-F", str(lab.ssh_config)]


def _names(entry: HostEntry) -> list[str]:
    return list(dict.fromkeys((entry.name, *entry.domains, entry.address, entry.address6)))


def _stanza(lab: Lab, entry: HostEntry) -> str:
    return f"""\
Host {" ".join(_names(entry))}
  HostName {entry.address}
  User root
  IdentityFile {lab.root / "id_ed25519"}
  IdentitiesOnly yes
  UserKnownHostsFile {lab.root / "known_hosts"}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ControlMaster no
  ControlPath none
  LogLevel ERROR
"""


def _known(lab: Lab, entry: HostEntry) -> str:
    keys = folder(lab, entry.name) / HOST_KEYS
    lines = keys.read_text().splitlines() if keys.exists() else []
    return "".join(f"{','.join(_names(entry))} {line}\n" for line in lines)
