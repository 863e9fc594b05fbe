"""What one look at the server found: figures and names, no judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onebox_release.host.certificates import Certificate


@dataclass(frozen=True)
class Disk:
    """A file system, in bytes and inodes; some count no inodes."""

    mount: str
    size: int
    free: int
    files: int
    files_free: int


@dataclass(frozen=True)
class App:
    """An app, as nginx, systemd and its history show it. Times are seconds of the epoch."""

    name: str
    domain: str
    live: str | None = None
    deploying: bool = False
    paused: bool = False
    """Whether an administrator stopped it, with `fab pause`."""
    missing: str | None = None
    """The release that `current` points to, where that is not there: then nothing is live."""
    failure: str = ""
    """What is wrong with its answer over HTTPS, or nothing."""
    certificate: Certificate | None = None
    """The certificate that is served."""
    uncertified: list[str] = field(default_factory=list)
    """Its domains that no certificate on the server is for."""
    down: list[str] = field(default_factory=list)
    """Units of the live release that are not up."""
    others: list[str] = field(default_factory=list)
    """Other releases that are up."""
    restarts: dict[str, int] = field(default_factory=dict)
    """How often systemd has restarted each unit of the live release."""
    last: dict[str, Any] | None = None
    """The last entry of its history."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How each of its jobs ended last."""


@dataclass(frozen=True)
class Observation:
    """The whole server."""

    at: float
    apps: list[App] = field(default_factory=list)
    deploying: bool = False
    """Whether a deployer holds the server's lock."""
    failed: list[str] = field(default_factory=list)
    """Units that have failed."""
    stopped: list[str] = field(default_factory=list)
    """Units that should be up and are not."""
    disks: list[Disk] = field(default_factory=list)
    memory: tuple[int, int] = (1, 1)
    """Bytes available, and in all; swap counts as both."""
    pressure: float = 0
    """Share of the last five minutes in which everything waited for memory, 0 to 1."""
    clock: float | None = None
    """Seconds that the clock is off, where that was last asked."""
    reboot: str = ""
    """The packages that wait for a reboot."""
    firewall: str = ""
    """How our table in the kernel is not as it was loaded, or nothing."""
    closed: list[int] = field(default_factory=list)
    """Ports that sshd listens on and that the firewall closes."""
    link_local: bool = True
    """Whether the kernel has the table that keeps apps from link-local addresses."""
    database: str = ""
    """Why PostgreSQL takes no new connection, or nothing."""
    timekeeper: bool = True
    """Whether anything keeps the clock right."""
    drift: list[str] = field(default_factory=list)
    """Files that are not as the last deploy left them."""
    libraries: dict[str, list[str]] = field(default_factory=dict)
    """Replaced files that units still run on, by unit."""
    updates: list[str] = field(default_factory=list)
    """Settings of apt that keep security updates away, or reboot for them."""
