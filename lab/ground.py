"""What the hosts of a lab stand on: made with the first, gone with the last."""

import shutil
from pathlib import Path

from lab import acme, cgroup, firewall, mounts, network, ssh
from lab.command import attempt, run
from lab.place import Lab

NSPAWN_RUN = Path("/run/systemd/nspawn")
TMPFS = "onebox-lab"


def lay(lab: Lab) -> None:
    """Make it, or what is missing of it."""
    _share_mounts(lab)
    network.bridge_up(lab)
    firewall.open_way(lab)
    _nspawn_run()
    ssh.ensure_key(lab)


def clear(lab: Lab) -> None:
    """Remove it, as far as it is there."""
    acme.stop(lab)
    cgroup.kill(lab)
    cgroup.remove(lab)
    firewall.close_way(lab)
    network.bridge_down(lab)
    if not firewall.labs():
        _forget_nspawn_run()
        network.forget_empty_netns()
    for path in mounts.below(lab.root):
        attempt("umount", "--lazy", path)
    if lab.root.exists():
        shutil.rmtree(lab.root)


def is_there(lab: Lab) -> bool:
    return lab.root.exists() or network.has_bridge(lab) or cgroup.exists(lab)


def forget_machine(machine: str) -> None:
    """Remove what a killed systemd-nspawn leaves below /run; its successor refuses to start."""
    for kind in ("propagate", "unix-export"):
        path = NSPAWN_RUN / kind / machine
        if path.exists():
            attempt("umount", path)
            shutil.rmtree(path, ignore_errors=True)


def _share_mounts(lab: Lab) -> None:
    # systemd-nspawn 252 keeps a copy of every mount of ours, hidden below the guest's root.
    # Were they private, no other host's disk could be unmounted for as long as it runs.
    if not mounts.below(lab.hosts):
        run("mount", "--bind", lab.hosts, lab.hosts)
        # A peer group of its own: in that of a shared / each mount below would show up twice.
        run("mount", "--make-private", lab.hosts)
        run("mount", "--make-shared", lab.hosts)


def _nspawn_run() -> None:
    # Where /run is no tmpfs, a guest's reboot fails on the propagation folder left there.
    if run("stat", "--file-system", "--format=%T", "/run").strip() == "tmpfs":
        return
    NSPAWN_RUN.mkdir(parents=True, exist_ok=True)
    if not mounts.is_mounted(NSPAWN_RUN):
        run("mount", "-t", "tmpfs", "-o", "mode=755", TMPFS, NSPAWN_RUN)


def _forget_nspawn_run() -> None:
    if mounts.source(NSPAWN_RUN) == TMPFS:
        attempt("umount", NSPAWN_RUN)
    for path in (NSPAWN_RUN / "propagate", NSPAWN_RUN / "unix-export", NSPAWN_RUN):
        attempt("rmdir", path)  # refused while another container of the machine uses it
