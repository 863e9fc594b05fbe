"""What all hosts of a lab share: created with the first host, removed with the last."""

import shutil
from pathlib import Path

from lab import acme, cgroup, firewall, mounts, network, ssh
from lab.command import attempt, run
from lab.layout import Lab

NSPAWN_RUN = Path("/run/systemd/nspawn")
TMPFS = "onebox-lab"


def set_up(lab: Lab) -> None:
    """Create the bridge, NAT, mounts and SSH key, or the missing ones."""
    _share_mounts(lab)
    network.bridge_up(lab)
    firewall.enable_nat(lab)
    _mount_nspawn_run()
    ssh.ensure_key(lab)


def tear_down(lab: Lab) -> None:
    """Remove all of it, and every process and file of the lab."""
    acme.stop(lab)
    cgroup.kill(lab)
    cgroup.remove(lab)
    firewall.disable_nat(lab)
    network.bridge_down(lab)
    if not firewall.labs():
        _unmount_nspawn_run()
        network.remove_empty_netns()
    for path in mounts.below(lab.root):
        attempt("umount", "--lazy", path)
    if lab.root.exists():
        shutil.rmtree(lab.root)


def exists(lab: Lab) -> bool:
    return lab.root.exists() or network.has_bridge(lab) or cgroup.exists(lab)


def clear_machine(machine: str) -> None:
    """Remove what a killed systemd-nspawn leaves below /run: the next would refuse to start."""
    for kind in ("propagate", "unix-export"):
        path = NSPAWN_RUN / kind / machine
        if path.exists():
            attempt("umount", path)
            shutil.rmtree(path, ignore_errors=True)


def _share_mounts(lab: Lab) -> None:
    # systemd-nspawn 252 keeps a hidden copy of all our mounts below the guest's root. If they
    # were private, no other host's disk could be unmounted while that guest runs.
    if not mounts.below(lab.hosts):
        run("mount", "--bind", lab.hosts, lab.hosts)
        # A peer group of its own: in that of a shared / each mount below would appear twice.
        run("mount", "--make-private", lab.hosts)
        run("mount", "--make-shared", lab.hosts)


def _mount_nspawn_run() -> None:
    # If /run is not a tmpfs, a guest's reboot fails on the propagation folder left there.
    if run("stat", "--file-system", "--format=%T", "/run").strip() == "tmpfs":
        return
    NSPAWN_RUN.mkdir(parents=True, exist_ok=True)
    if not mounts.is_mounted(NSPAWN_RUN):
        run("mount", "-t", "tmpfs", "-o", "mode=755", TMPFS, NSPAWN_RUN)


def _unmount_nspawn_run() -> None:
    if mounts.source(NSPAWN_RUN) == TMPFS:
        attempt("umount", NSPAWN_RUN)
    for path in (NSPAWN_RUN / "propagate", NSPAWN_RUN / "unix-export", NSPAWN_RUN):
        attempt("rmdir", path)  # refused while another container of the machine uses it
