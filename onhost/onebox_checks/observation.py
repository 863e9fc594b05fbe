"""An observation of the server: measurements without judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onebox_release.host.certificates import Certificate


@dataclass(frozen=True)
class Disk:
    """A file system, in bytes and inodes; `files` is 0 if it does not count inodes."""

    mount: str
    size: int
    free: int
    files: int
    files_free: int


@dataclass(frozen=True)
class App:
    """An app, from nginx, systemd and its history. Times are in seconds of the epoch."""

    name: str
    domain: str
    live: str | None = None
    deploying: bool = False
    paused: bool = False
    """Whether an administrator paused it, with `fab pause`."""
    missing: str | None = None
    """The release that `current` points to, if it does not exist: then no release is live."""
    failure: str = ""
    """The error of a health check over HTTPS, or ""."""
    certificate: Certificate | None = None
    """The certificate that nginx serves."""
    uncertified: list[str] = field(default_factory=list)
    """Its domains without a certificate on the server."""
    down: list[str] = field(default_factory=list)
    """Inactive units of the live release."""
    others: list[str] = field(default_factory=list)
    """Active releases other than the live one."""
    restarts: dict[str, int] = field(default_factory=dict)
    """Restarts by systemd of each unit of the live release."""
    last: dict[str, Any] | None = None
    """The last entry of its history."""
    timers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last run of each timer."""


@dataclass(frozen=True)
class Observation:
    """An observation of the whole server."""

    at: float
    apps: list[App] = field(default_factory=list)
    deploying: bool = False
    """Whether a deploy holds the server's lock."""
    failed: list[str] = field(default_factory=list)
    """Units that have failed."""
    stopped: list[str] = field(default_factory=list)
    """Inactive units that should be active."""
    disks: list[Disk] = field(default_factory=list)
    memory: tuple[int, int] = (1, 1)
    """Available and total bytes, both including swap."""
    pressure: float = 0
    """Share of the last five minutes in which all processes waited for memory, 0 to 1."""
    clock: float | None = None
    """Seconds that the clock is ahead, when last checked."""
    reboot: str = ""
    """The packages that need a reboot."""
    firewall: str = ""
    """How our table in the kernel differs from the loaded one, or ""."""
    closed: list[int] = field(default_factory=list)
    """Ports that sshd listens on and the firewall closes."""
    link_local: bool = True
    """Whether the kernel has the table that blocks link-local addresses for apps."""
    database: str = ""
    """Why PostgreSQL accepts no new connection, or ""."""
    timekeeper: bool = True
    """Whether a service synchronises the clock."""
    drift: list[str] = field(default_factory=list)
    """Files that changed since the last deploy."""
    libraries: dict[str, list[str]] = field(default_factory=dict)
    """Replaced files that units still use, by unit."""
    updates: list[str] = field(default_factory=list)
    """Settings of apt that prevent security updates, or reboot for them."""
