"""Booting a host, and the two ways of switching it off."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab import cgroup, disk, ground, guest, limits, process, ssh
from lab.errors import LabError
from lab.place import Lab, locked
from lab.record import Record, folder
from lab.supervise import CONSOLE, NSPAWN_PID
from lab.waiting import wait_until

HERE = Path(__file__).resolve().parent.parent
CLEAN_SECONDS = 120  # systemd gives a unit 90 s to stop
SSH_SECONDS = 60


def is_on(lab: Lab, name: str) -> bool:
    return bool(cgroup.processes(lab, name))


def boot(lab: Lab, record: Record) -> None:
    """Mount the root, put the limits in place and start the supervisor."""
    disk.mount(lab, record)
    guest.personalise(lab, record)
    limits.prepare(lab, record)
    ground.forget_machine(lab.namespace(record.name))
    supervisor = _supervisor(lab, record.name)
    wait_until(lambda: is_on(lab, record.name) or supervisor.poll() is not None, SSH_SECONDS)
    with locked(lab.cache):
        ssh.write_config(lab)


def wait_for_ssh(lab: Lab, record: Record) -> None:
    """Return when a login works; raise LabError with the console's last lines otherwise."""
    deadline = time.monotonic() + SSH_SECONDS
    while not ssh.answers(lab, record.name):
        died = not is_on(lab, record.name)
        if died or time.monotonic() > deadline:
            raise LabError(
                f"{record.name} {'died while it booted' if died else 'does not answer SSH'}. "
                f"The last lines of its console:\n{console_tail(lab, record.name)}"
            )
        time.sleep(0.05)


def off(lab: Lab, record: Record) -> None:
    """Have the guest shut itself down, and wait for it."""
    nspawn = _nspawn(lab, record.name)
    if nspawn is not None:
        os.kill(nspawn, signal.SIGTERM)
    if not wait_until(lambda: not is_on(lab, record.name), CLEAN_SECONDS):
        raise LabError(
            f"{record.name} has not shut down in {CLEAN_SECONDS} s. See what it waits for in "
            f"{folder(lab, record.name) / CONSOLE}, or cut its power: lab poweroff "
            f"{record.name} --hard"
        )
    _clear(lab, record)


def cut(lab: Lab, record: Record) -> None:
    """Switch off as a power cut does; on a --disk host what was not synced is lost."""
    if record.disk:
        disk.cut_power(lab, record.name)
    cgroup.kill(lab, record.name)
    _clear(lab, record)


def reboot(lab: Lab, record: Record) -> None:
    """Have the guest reboot itself, and wait until the next boot answers."""
    before = _leader(lab, record.name)
    if before is None:
        raise LabError(f"{record.name} is not running. Start it: lab start {record.name}")
    os.kill(before.pid, signal.SIGRTMIN + 5)  # systemd(1): start reboot.target
    if not wait_until(lambda: not before.alive, CLEAN_SECONDS):
        raise LabError(f"{record.name} has not gone down for its reboot in {CLEAN_SECONDS} s.")
    wait_for_ssh(lab, record)


def uptime(lab: Lab, name: str) -> float | None:
    """Seconds since the guest's PID 1 started."""
    leader = _leader(lab, name)
    if leader is None:
        return None
    now = float(Path("/proc/uptime").read_text().split()[0])
    return now - leader.started / os.sysconf("SC_CLK_TCK")


def console_tail(lab: Lab, name: str, lines: int = 15) -> str:
    path = folder(lab, name) / CONSOLE
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def _supervisor(lab: Lab, name: str) -> "subprocess.Popen[bytes]":
    paths = {"PYTHONPATH": HERE, "ONEBOX_LAB_ROOT": lab.root, "ONEBOX_LAB_CACHE": lab.cache}
    with (folder(lab, name) / CONSOLE).open("ab") as console:
        return subprocess.Popen(
            [sys.executable, "-m", "lab.supervise", name],
            env=os.environ | {variable: str(path) for variable, path in paths.items()},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )


def _clear(lab: Lab, record: Record) -> None:
    cgroup.remove(lab, record.name)
    # An overlay stays mounted: the mount table tells every lab which images are in use.
    if record.disk:
        disk.unmount(lab, record.name)
        if not disk.is_released(lab, record.name):
            raise LabError(
                f"{record.name} is off, but its disk is still in use by another process's mount "
                "namespace. See who holds it: losetup --list; grep loop /proc/*/mountinfo"
            )


def _nspawn(lab: Lab, name: str) -> int | None:
    path = folder(lab, name) / NSPAWN_PID
    pid = int(path.read_text()) if path.exists() else None
    return pid if pid in cgroup.processes(lab, name) else None


def _leader(lab: Lab, name: str) -> process.Process | None:
    nspawn = _nspawn(lab, name)
    leader = process.leader(nspawn) if nspawn else None
    return process.find(leader) if leader else None
