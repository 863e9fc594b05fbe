"""--memory and --cpus: the limits, and the files that show them to the guest."""

import os

from lab import cgroup, process
from lab.command import attempt
from lab.layout import Lab
from lab.registry import HostEntry

# The file must come from the guest's own mount namespace; it survives the tmpfs's unmount.
COVER = """
mount -t tmpfs -o size=64k,mode=755 limits /mnt && printf %s "$2" >/mnt/file &&
mount -o bind,ro /mnt/file "$1"
umount --lazy /mnt
"""


def prepare(lab: Lab, entry: HostEntry) -> None:
    """Create the host's cgroup."""
    cgroup.create(lab, entry.name, memory=entry.memory, cpus=cpu_list(entry))


def show(entry: HostEntry, nspawn: int) -> None:
    """Mount the host's own files over the kernel's, which describe the whole machine."""
    files = {}
    if entry.memory:
        files["/proc/meminfo"] = meminfo(entry.memory)
    if entry.cpus:
        files["/sys/devices/system/cpu/online"] = online(entry.cpus)
    leader = process.leader(nspawn, within=10) if files else None
    for path, text in files.items() if leader else []:
        attempt(
            "nsenter", f"--target={leader}", "--mount", "--pid", "sh", "-c", COVER, "-", path, text
        )


def cpu_list(entry: HostEntry) -> str | None:
    """CPUs for a cpuset; hosts with few CPUs are spread over the machine's."""
    if entry.cpus is None:
        return None
    available = sorted(os.sched_getaffinity(0))
    chosen = {
        available[(entry.number * entry.cpus + i) % len(available)] for i in range(entry.cpus)
    }
    return ",".join(str(cpu) for cpu in sorted(chosen))


def online(cpus: int) -> str:
    """/sys/devices/system/cpu/online, by which C libraries count processors."""
    return f"0-{cpus - 1}\n" if cpus > 1 else "0\n"


def meminfo(memory: int) -> str:
    """A /proc/meminfo, by which programs size themselves (lxcfs does the same, but live)."""
    total = memory // 1024
    free = total * 9 // 10
    figures = {
        "MemTotal": total,
        "MemFree": free,
        "MemAvailable": free,
        "Buffers": 0,
        "Cached": 0,
        "SwapCached": 0,
        "Active": 0,
        "Inactive": 0,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Dirty": 0,
        "Writeback": 0,
        "AnonPages": total - free,
        "Mapped": 0,
        "Shmem": 0,
        "SReclaimable": 0,
        "CommitLimit": total,
        "Committed_AS": total - free,
    }
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in figures.items())
