"""The process that stays with a host: starts systemd-nspawn, and again when the guest reboots."""

import os
import subprocess
import sys

from lab import cgroup, disk, limits
from lab.network import NETNS
from lab.place import Lab, this_lab
from lab.record import Record, folder, load, write_whole

REBOOT = 133  # systemd-nspawn's exit status with --keep-unit; systemd-nspawn(1)
NSPAWN_PID = "nspawn.pid"
CONSOLE = "console.log"


def main(name: str) -> None:
    """Supervise the host until it powers off."""
    lab = this_lab()
    record = load(lab, name)
    if record is None:
        sys.exit(f"no host named {name}")
    cgroup.enter(lab, name, "supervisor")
    boot = 1
    while _boot(lab, record, f"boot{boot}") == REBOOT:
        boot += 1


def command(lab: Lab, record: Record) -> list[str]:
    """systemd-nspawn's command line for a host."""
    return [
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no"),
        f"--directory={disk.root(lab, record.name)}",
        f"--machine={lab.namespace(record.name)}",
        f"--hostname={record.name}",
        f"--network-namespace-path={NETNS / lab.namespace(record.name)}",
        "--capability=CAP_NET_ADMIN",  # nftables and net.* sysctls
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
    ]


def environment(debian: int) -> dict[str, str]:
    """What systemd-nspawn is told by its environment alone."""
    return os.environ | {
        "SYSTEMD_NSPAWN_LOCK": "0",
        "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        # systemd 257 boots on the unified hierarchy only.
        **({"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if debian >= 13 else {}),
    }


def _debian(lab: Lab, record: Record) -> int:
    """The Debian that is about to boot: a host can have been upgraded since it was made."""
    version = (disk.root(lab, record.name) / "etc/debian_version").read_text()
    major = version.partition(".")[0].strip()
    return int(major) if major.isdigit() else record.debian


def _boot(lab: Lab, record: Record, group: str) -> int:
    home = folder(lab, record.name)
    with (home / CONSOLE).open("ab") as console:
        guest = subprocess.Popen(
            command(lab, record),
            env=environment(_debian(lab, record)),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            preexec_fn=lambda: cgroup.enter(lab, record.name, "guest", group),
        )
        write_whole(home / NSPAWN_PID, str(guest.pid))
        limits.show(record, guest.pid)
        status = guest.wait()
    for top in cgroup.hierarchies():
        cgroup.remove_tree(top / lab.cgroup / record.name / "guest" / group)
    return status


if __name__ == "__main__":
    main(sys.argv[1])
