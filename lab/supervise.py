"""A host's supervisor process: starts systemd-nspawn, and again when the guest reboots."""

import os
import subprocess
import sys

from lab import cgroup, disk, limits
from lab.layout import Lab, this_lab
from lab.network import NETNS
from lab.registry import HostEntry, folder, load, write_atomically

REBOOT = 133  # systemd-nspawn's exit status with --keep-unit; systemd-nspawn(1)
NSPAWN_PID = "nspawn.pid"
CONSOLE = "console.log"


def main(name: str) -> None:
    """Supervise the host until it powers off."""
    lab = this_lab()
    entry = load(lab, name)
    if entry is None:
        sys.exit(f"no host named {name}")
    cgroup.enter(lab, name, "supervisor")
    boot = 1
    while _boot(lab, entry, f"boot{boot}") == REBOOT:
        boot += 1


def command(lab: Lab, entry: HostEntry) -> list[str]:
    """systemd-nspawn's command line for a host."""
    return [
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no"),
        f"--directory={disk.root(lab, entry.name)}",
        f"--machine={lab.namespace(entry.name)}",
        f"--hostname={entry.name}",
        f"--network-namespace-path={NETNS / lab.namespace(entry.name)}",
        "--capability=CAP_NET_ADMIN",  # nftables and net.* sysctls
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
    ]


def environment(debian: int) -> dict[str, str]:
    """Settings that systemd-nspawn reads from its environment only."""
    return os.environ | {
        "SYSTEMD_NSPAWN_LOCK": "0",
        "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        # systemd 257 boots on the unified hierarchy only.
        **({"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if debian >= 13 else {}),
    }


def _debian(lab: Lab, entry: HostEntry) -> int:
    """The Debian that is about to boot: the host may have been upgraded since its creation."""
    version = (disk.root(lab, entry.name) / "etc/debian_version").read_text()
    major = version.partition(".")[0].strip()
    return int(major) if major.isdigit() else entry.debian


def _boot(lab: Lab, entry: HostEntry, group: str) -> int:
    home = folder(lab, entry.name)
    with (home / CONSOLE).open("ab") as console:
        guest = subprocess.Popen(
            command(lab, entry),
            env=environment(_debian(lab, entry)),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            preexec_fn=lambda: cgroup.enter(lab, entry.name, "guest", group),
        )
        write_atomically(home / NSPAWN_PID, str(guest.pid))
        limits.show(entry, guest.pid)
        status = guest.wait()
    for top in cgroup.hierarchies():
        cgroup.remove_tree(top / lab.cgroup / entry.name / "guest" / group)
    return status


if __name__ == "__main__":
    main(sys.argv[1])
