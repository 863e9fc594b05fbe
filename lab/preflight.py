"""The lab's requirements of this machine, checked before any command."""

import os
import shutil
import sys
from pathlib import Path

from lab.errors import LabError

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "xfs_io": "xfsprogs",
    "ssh": "openssh-client",
    "setpriv": "util-linux",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def check() -> None:
    """Raise LabError unless the lab can run on this machine."""
    if sys.platform != "linux":
        raise LabError(
            f"The lab boots Debian in a Linux container, and this machine is {sys.platform!r}. "
            "Run it on Linux, or in a Linux virtual machine."
        )
    if os.geteuid() != 0:
        raise LabError(
            "The lab creates mounts and network interfaces, which needs root. "
            "Run it again as root: sudo .venv/bin/python -m lab ..."
        )
    missing = missing_packages()
    if missing:
        raise LabError(
            f"The lab needs programs that are not installed on this machine. "
            f"Install them: apt-get install {' '.join(missing)}"
        )


def missing_packages() -> list[str]:
    """Debian packages (the same on Ubuntu) of the missing programs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = {package for name, package in PACKAGES.items() if not shutil.which(name, path=path)}
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)
