"""--memory and --cpus: the limit itself, and what the guest is shown of it."""

import os

from lab import cgroup, process
from lab.command import attempt
from lab.place import Lab
from lab.record import Record

# The file has to come from the guest's own mount namespace; it outlives its tmpfs's name.
COVER = """
mount -t tmpfs -o size=64k,mode=755 limits /mnt && printf %s "$2" >/mnt/file &&
mount -o bind,ro /mnt/file "$1"
umount --lazy /mnt
"""


def prepare(lab: Lab, record: Record) -> None:
    """Make the host's cgroup."""
    cgroup.create(lab, record.name, memory=record.memory, cpus=cpu_list(record))


def show(record: Record, nspawn: int) -> None:
    """Put files of the host's own over the kernel's, which tell of the whole machine."""
    files = {}
    if record.memory:
        files["/proc/meminfo"] = meminfo(record.memory)
    if record.cpus:
        files["/sys/devices/system/cpu/online"] = online(record.cpus)
    leader = process.leader(nspawn, within=10) if files else None
    for path, text in files.items() if leader else []:
        attempt(
            "nsenter", f"--target={leader}", "--mount", "--pid", "sh", "-c", COVER, "-", path, text
        )


def cpu_list(record: Record) -> str | None:
    """CPUs for a cpuset; hosts with few of them are spread over the machine's."""
    if record.cpus is None:
        return None
    ours = sorted(os.sched_getaffinity(0))
    chosen = {ours[(record.number * record.cpus + i) % len(ours)] for i in range(record.cpus)}
    return ",".join(str(cpu) for cpu in sorted(chosen))


def online(cpus: int) -> str:
    """What C libraries count processors by."""
    return f"0-{cpus - 1}\n" if cpus > 1 else "0\n"


def meminfo(memory: int) -> str:
    """A /proc/meminfo, as programs size themselves by it (lxcfs does the same, but live)."""
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
