"""Observe a server for the preflight, without changing or judging anything.

The deployer pipes this program over its SSH connection, also to a bare server.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import pwd
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "Made by onebox"  # in each file that onebox generates
LOCK = Path("/var/lib/dpkg/lock-frontend")
SERVICES = ("apache2", "docker", "firewalld")
TIME_SERVICES = ("chrony", "ntpsec", "openntpd", "ntp", "systemd-timesyncd")
# A line of ss: state, two queues, the local address, the peer's, and the first process.
SOCKET = re.compile(
    r"^(?:LISTEN|UNCONN)\s+\d+\s+\d+\s+(?P<address>\S+):(?P<port>\d+)\s+\S+"
    r'(?:[ \t]+users:\(\("(?P<program>[^"]*)",pid=(?P<pid>\d+))?',
    re.MULTILINE,
)
FLOCK = "hhqqi"  # struct flock: type, whence, start, length, pid
STOPPED = " (stopped)"  # suffix of a time service that does not run


@dataclass(frozen=True)
class Request:
    """What the deployer asks about."""

    onebox_files: dict[str, str]
    """A file that onebox generates, by the service that it takes over."""
    app_paths: dict[str, list[str]]
    """Paths that an app will own, by its name."""
    packages: list[str]
    """Debian packages that must be installed."""
    apt_timeout: float
    """Seconds to wait for another apt to finish."""


@dataclass(frozen=True)
class Listener:
    """A TCP port that is open beyond the loopback address, and its process; "?" if unknown."""

    port: int
    program: str
    pid: str


@dataclass(frozen=True)
class Observation:
    """The state of a server. Sizes are MiB."""

    clock: float
    """Seconds since the epoch."""
    system: str
    """As in "debian 13"."""
    architecture: str
    python: str
    """Version of python3."""
    memory_available: int
    """Free swap included."""
    memory_total: int
    disk_free: int
    addresses: list[str]
    listeners: list[Listener]
    services: list[str]
    """Those of SERVICES that are active or enabled."""
    ufw: bool
    """Whether ufw is enabled."""
    nginx_sites: list[str]
    """Sites other than Debian's default."""
    clusters: list[str]
    """PostgreSQL clusters, as in "17/main"."""
    managed: dict[str, bool]
    """Whether an earlier deploy took a service over, by the keys of `onebox_files`."""
    name_conflicts: dict[str, list[str]]
    """What already exists with an app's name and is not onebox's, by the app's name."""
    time_service: str
    """What synchronises the clock; see time_service()."""
    apt_lock_holder: str
    """The process that kept apt's lock for `apt_timeout`; empty if packages can be installed."""

    @classmethod
    def from_json(cls, text: str) -> Observation:
        """Return the observation that `main` printed."""
        fields = json.loads(text)
        listeners = [Listener(**each) for each in fields.pop("listeners")]
        return cls(listeners=listeners, **fields)


def main(request: str) -> None:
    """Print the observation for a request, both as JSON."""
    print(json.dumps(asdict(observe(Request(**json.loads(request))))))


def observe(request: Request) -> Observation:
    """Return the state of this server."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', read("/etc/os-release"), re.MULTILINE))
    memory = dict(re.findall(r"^(\w+): +(\d+) kB", read("/proc/meminfo"), re.MULTILINE))
    return Observation(
        clock=time.time(),
        system=f"{release.get('ID', '?')} {release.get('VERSION_ID', '?')}",
        architecture=platform.machine(),
        python=platform.python_version(),
        memory_available=(int(memory["MemAvailable"]) + int(memory["SwapFree"])) // 1024,
        memory_total=int(memory["MemTotal"]) // 1024,
        disk_free=shutil.disk_usage("/srv" if Path("/srv").exists() else "/").free // 2**20,
        addresses=output("hostname", "-I").split(),
        listeners=list(listeners()),
        services=list(enabled(SERVICES)),
        ufw="ENABLED=yes" in read("/etc/ufw/ufw.conf").split(),
        nginx_sites=list(nginx_sites()),
        clusters=["/".join(p.parts[-2:]) for p in Path("/etc/postgresql").glob("*/*")],
        managed={name: MARK in read(f"/{path}") for name, path in request.onebox_files.items()},
        name_conflicts={app: name_conflicts(app, p) for app, p in request.app_paths.items()},
        time_service=time_service(),
        apt_lock_holder=apt_lock_holder(request.packages, request.apt_timeout),
    )


def listeners() -> Iterator[Listener]:
    """Yield the TCP listeners beyond the loopback address."""
    for port, program, pid in sockets("-t"):
        yield Listener(port, program, pid)


def sockets(kind: str) -> Iterator[tuple[int, str, str]]:
    """Yield the port, program and process of each socket that listens beyond the loopback address.

    A program can set its name to any 15 bytes, also line breaks and control characters; that is
    too short to forge a line that matches.
    """
    for found in SOCKET.finditer(output("ss", "-H", "-l", "-n", "-p", kind)):
        if not found["address"].strip("[]").startswith(("127.", "::1", "::ffff:127.")):
            program = "".join(c if c.isprintable() else "?" for c in found["program"] or "?")
            yield int(found["port"]), program, found["pid"] or "?"


def enabled(services: Iterable[str]) -> Iterator[str]:
    """Yield the services that are active or enabled."""
    for name in services:
        states = output("systemctl", "show", "-p", "ActiveState,UnitFileState", name).split()
        if {"ActiveState=active", "UnitFileState=enabled"} & {*states}:
            yield name


def time_service() -> str:
    """Return the service that synchronises the clock, with " (stopped)" if it does not run;
    "container" if that is the host's task, or "none"."""
    if output("systemd-detect-virt", "--container").strip() not in {"", "none"}:
        return "container"  # the clock is its host's
    units = [f"{name}.service" for name in TIME_SERVICES]
    shown = output("systemctl", "show", "-p", "Id,LoadState,ActiveState", *units).split("\n\n")
    states = [dict(line.split("=", 1) for line in each.splitlines()) for each in shown if each]
    loaded = [state for state in states if state.get("LoadState") == "loaded"]
    loaded.sort(key=lambda state: state.get("ActiveState") != "active")
    if not loaded:
        return "none"
    name = loaded[0]["Id"].removesuffix(".service")
    return name if loaded[0]["ActiveState"] == "active" else f"{name}{STOPPED}"


def nginx_sites() -> Iterator[str]:
    """Yield the sites that a foreign nginx serves, except Debian's default."""
    for pattern in ("sites-enabled/*", "conf.d/*.conf"):
        for path in sorted(Path("/etc/nginx").glob(pattern)):
            if path.resolve() != Path("/etc/nginx/sites-available/default"):
                yield path.name


def name_conflicts(app: str, paths: Sequence[str]) -> list[str]:
    """Return what already exists with an app's name, unless onebox created it."""
    if MARK in read(f"/etc/sysusers.d/{app}.conf"):
        return []
    found = [f"the folder {path}" for path in paths if Path(path).is_dir()]
    found += [f"the file {path}" for path in paths if Path(path).is_file()]
    found += [f"the user {user.pw_name}" for user in pwd.getpwall() if user.pw_name == app]
    if Path("/usr/bin/psql").exists():
        query = "select datname from pg_database"
        databases = output("runuser", "-u", "postgres", "--", "psql", "-XqAtc", query).split()
        found += [f"the database {app}"] * (app in databases)
    return found


def apt_lock_holder(packages: Sequence[str], timeout: float) -> str:
    """Return the process that still holds apt's lock after `timeout` seconds; empty if none does,
    or if no package must be installed."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}\n", *packages]
    if output(*query).split() == ["installed"] * len(packages):
        return ""
    deadline = time.monotonic() + timeout
    while (holder := lock_holder()) and time.monotonic() < deadline:
        time.sleep(1)
    return f"{read(f'/proc/{holder}/comm').strip()} (process {holder})" if holder else ""


def lock_holder() -> int:
    """Return the id of the process that holds apt's lock, or 0."""
    if not LOCK.exists():
        return 0
    with LOCK.open("rb+") as file:
        query = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, query))
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def read(path: str) -> str:
    """Return a file's text; empty if it can't be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def output(*command: str) -> str:
    """Return a command's output; empty if the program is not installed."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, cwd="/"
        ).stdout
    except FileNotFoundError:
        return ""
