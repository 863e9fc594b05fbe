"""One ssh_config for pyinfra, testinfra, fabric and people."""

import os
import subprocess
from typing import NoReturn

from lab.command import run
from lab.place import Lab
from lab.record import Record, folder, load_all, write_whole

HOST_KEYS = "host_keys.pub"


def ensure_key(lab: Lab) -> str:
    """The lab's public key; the pair is made with the first host and goes with the last."""
    key = lab.root / "id_ed25519"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.cgroup, "-f", key)
    return key.with_suffix(".pub").read_text()


def write_config(lab: Lab) -> None:
    """Write ssh_config and known_hosts anew from the records."""
    records = load_all(lab)
    write_whole(lab.root / "known_hosts", "".join(_known(lab, record) for record in records))
    write_whole(lab.ssh_config, "\n".join(_stanza(lab, record) for record in records))


def answers(lab: Lab, name: str) -> bool:
    """Whether a real login works, not only the port."""
    command = [*_ssh(lab), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", name, "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def replace_us_by_ssh(lab: Lab, name: str, command: list[str]) -> NoReturn:
    """Become ssh, so that its exit status and terminal are the person's."""
    os.execvp("ssh", [*_ssh(lab), name, *command])  # noqa: S606 - no shell is wanted


def _ssh(lab: Lab) -> list[str]:
    return ["ssh", "-F", str(lab.ssh_config)]


def _names(record: Record) -> list[str]:
    return list(dict.fromkeys((record.name, *record.domains, record.address, record.address6)))


def _stanza(lab: Lab, record: Record) -> str:
    return f"""\
Host {" ".join(_names(record))}
  HostName {record.address}
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


def _known(lab: Lab, record: Record) -> str:
    keys = folder(lab, record.name) / HOST_KEYS
    lines = keys.read_text().splitlines() if keys.exists() else []
    return "".join(f"{','.join(_names(record))} {line}\n" for line in lines)
