"""A lab's folders, and the names of its interfaces, tables and groups on this machine."""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

DEFAULT_ROOT = Path("/var/lib/onebox-lab")
DEFAULT_CACHE = Path("/var/cache/onebox-lab")


@dataclass(frozen=True)
class Lab:
    """One lab: its state below `root`, images and snapshots below `cache`.

    Labs with different roots can share a machine: every name is derived from the root's path.
    """

    root: Path = DEFAULT_ROOT
    cache: Path = DEFAULT_CACHE

    @property
    def prefix(self) -> str:
        """First part of every name; short, because an interface's name has 15 characters."""
        if self.root == DEFAULT_ROOT:
            return "onebox"
        return "ob" + hashlib.sha256(str(self.root).encode()).hexdigest()[:5]

    @property
    def bridge(self) -> str:
        return f"{self.prefix}0"

    @property
    def table(self) -> str:
        """The nftables table."""
        return f"{self.prefix}_lab"

    @property
    def cgroup(self) -> str:
        return f"{self.prefix}-lab"

    @property
    def hosts(self) -> Path:
        return self.root / "hosts"

    @property
    def acme(self) -> Path:
        return self.root / "acme"

    @property
    def images(self) -> Path:
        return self.cache / "images"

    @property
    def snapshots(self) -> Path:
        return self.cache / "snapshots"

    @property
    def ssh_config(self) -> Path:
        return self.root / "ssh_config"

    def namespace(self, name: str) -> str:
        """Network namespace of a host, and its name for systemd-nspawn."""
        return f"{self.prefix}-{name}"

    def veth(self, number: int) -> str:
        return f"{self.prefix}-{number}"


def this_lab() -> Lab:
    """The lab that ONEBOX_LAB_ROOT and ONEBOX_LAB_CACHE name, or the default one."""
    return Lab(
        root=_folder("ONEBOX_LAB_ROOT", DEFAULT_ROOT),
        cache=_folder("ONEBOX_LAB_CACHE", DEFAULT_CACHE),
    )


def _folder(variable: str, default: Path) -> Path:
    value = os.environ.get(variable) or str(default)
    if not re.fullmatch(r"/[\w.-]+(/[\w.-]+)+", value):
        raise LabError(
            f"{variable} is {value!r}, but must be an absolute path at least two folders deep, "
            f"of letters, digits, '.', '_' and '-' (it goes into mount options). "
            f"Set it to something like {default}, or unset it."
        )
    return Path(value)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; the kernel releases it when the process exits."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
