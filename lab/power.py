"""Boot a host, shut it down, or cut its power."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab import cgroup, disk, guest, host_support, limits, process, ssh
from lab.errors import LabError
from lab.layout import Lab, locked
from lab.registry import HostEntry, folder
from lab.supervise import CONSOLE, NSPAWN_PID
from lab.waiting import wait_until

HERE = Path(__file__).resolve().parent.parent
CLEAN_SECONDS = 120  # systemd gives a unit 90 s to stop
SSH_SECONDS = 60


def is_on(lab: Lab, name: str) -> bool:
    return bool(cgroup.processes(lab, name))


def boot(lab: Lab, entry: HostEntry) -> None:
    """Mount the root, set the limits and start the supervisor."""
    disk.mount(lab, entry)
    guest.personalise(lab, entry)
    limits.prepare(lab, entry)
    host_support.clear_machine(lab.namespace(entry.name))
    supervisor = _supervisor(lab, entry.name)
    wait_until(lambda: is_on(lab, entry.name) or supervisor.poll() is not None, SSH_SECONDS)
    with locked(lab.cache):
        ssh.write_config(lab)


def wait_for_ssh(lab: Lab, entry: HostEntry) -> None:
    """Return when a login works; raise LabError with the console's last lines otherwise."""
    deadline = time.monotonic() + SSH_SECONDS
    while not ssh.answers(lab, entry.name):
        stopped = not is_on(lab, entry.name)
        if stopped or time.monotonic() > deadline:
            raise LabError(
                f"{entry.name} {'stopped during its boot' if stopped else 'does not answer SSH'}. "
                f"Last lines of its console:\n{console_tail(lab, entry.name)}"
            )
        time.sleep(0.05)


def off(lab: Lab, entry: HostEntry) -> None:
    """Shut the guest down cleanly, and wait until it is off."""
    nspawn = _nspawn(lab, entry.name)
    if nspawn is not None:
        os.kill(nspawn, signal.SIGTERM)
    if not wait_until(lambda: not is_on(lab, entry.name), CLEAN_SECONDS):
        raise LabError(
            f"{entry.name} did not shut down in {CLEAN_SECONDS} s. Check what it waits for in "
            f"{folder(lab, entry.name) / CONSOLE}, or cut its power: lab poweroff "
            f"{entry.name} --hard"
        )
    _release(lab, entry)


def cut(lab: Lab, entry: HostEntry) -> None:
    """Cut the power; a --disk host loses what it had not synced."""
    if entry.disk:
        disk.cut_power(lab, entry.name)
    cgroup.kill(lab, entry.name)
    _release(lab, entry)


def reboot(lab: Lab, entry: HostEntry) -> None:
    """Reboot the guest, and wait until it answers SSH again."""
    before = _leader(lab, entry.name)
    if before is None:
        raise LabError(f"{entry.name} is not running. Start it: lab start {entry.name}")
    os.kill(before.pid, signal.SIGRTMIN + 5)  # systemd(1): start reboot.target
    if not wait_until(lambda: not before.alive, CLEAN_SECONDS):
        raise LabError(f"{entry.name} did not shut down for its reboot in {CLEAN_SECONDS} s.")
    wait_for_ssh(lab, entry)


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


def _release(lab: Lab, entry: HostEntry) -> None:
    cgroup.remove(lab, entry.name)
    # An overlay stays mounted: the mount table shows every lab which images are in use.
    if entry.disk:
        disk.unmount(lab, entry.name)
        if not disk.is_released(lab, entry.name):
            raise LabError(
                f"{entry.name} is off, but its disk is still in use by another process's mount "
                "namespace. Find it: losetup --list; grep loop /proc/*/mountinfo"
            )


def _nspawn(lab: Lab, name: str) -> int | None:
    path = folder(lab, name) / NSPAWN_PID
    pid = int(path.read_text()) if path.exists() else None
    return pid if pid in cgroup.processes(lab, name) else None


def _leader(lab: Lab, name: str) -> process.Process | None:
    nspawn = _nspawn(lab, name)
    leader = process.leader(nspawn) if nspawn else None
    return process.find(leader) if leader else None
