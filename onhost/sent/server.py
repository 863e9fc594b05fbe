"""What a deploy must know of a server before it changes anything.

The deployer sends this program over its own SSH connection, on a bare server too. It looks, and
judges nothing.
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
from pathlib import Path
from typing import Any

OURS = "Made by onebox"
LOCK = Path("/var/lib/dpkg/lock-frontend")
SERVICES = ("apache2", "docker", "firewalld")
TIMEKEEPERS = ("chrony", "ntpsec", "openntpd", "ntp", "systemd-timesyncd")
# A line of ss: state, two queues, the local address, the peer's, and the first process.
SOCKET = re.compile(
    r"^(?:LISTEN|UNCONN)\s+\d+\s+\d+\s+(?P<address>\S+):(?P<port>\d+)\s+\S+"
    r'(?:[ \t]+users:\(\("(?P<program>[^"]*)",pid=(?P<pid>\d+))?',
    re.MULTILINE,
)
FLOCK = "hhqqi"  # struct flock: type, whence, start, length, pid


def main(question: str) -> None:
    """Print all that was asked for, by JSON, as one JSON document."""
    asked: dict[str, Any] = json.loads(question)
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', read("/etc/os-release"), re.MULTILINE))
    memory = dict(re.findall(r"^(\w+): +(\d+) kB", read("/proc/meminfo"), re.MULTILINE))
    found = {
        "clock": time.time(),
        "system": f"{release.get('ID', '?')} {release.get('VERSION_ID', '?')}",
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "memory": (int(memory["MemAvailable"]) + int(memory["SwapFree"])) // 1024,
        "memory_total": int(memory["MemTotal"]) // 1024,
        "disk": shutil.disk_usage("/srv" if Path("/srv").exists() else "/").free // 2**20,
        "addresses": output("hostname", "-I").split(),
        "listeners": list(listeners()),
        "services": list(enabled(SERVICES)),
        "ufw": "ENABLED=yes" in read("/etc/ufw/ufw.conf").split(),
        "sites": list(sites()),
        "clusters": ["/".join(p.parts[-2:]) for p in Path("/etc/postgresql").glob("*/*")],
        "ours": {name: OURS in read(f"/{path}") for name, path in asked["ours"].items()},
        "taken": {app: taken(app, asked["taken"][app]) for app in asked["taken"]},
        "timekeeper": timekeeper(),
        "apt": apt(asked["packages"], asked["patience"]),
    }
    print(json.dumps(found))


def listeners() -> Iterator[dict[str, Any]]:
    """Yield who listens for TCP beyond the loopback address."""
    for port, program, pid in sockets("-t"):
        yield {"port": port, "program": program, "pid": pid}


def sockets(kind: str) -> Iterator[tuple[int, str, str]]:
    """Yield the port, program and process of what listens beyond the loopback address.

    A program chooses its name: 15 bytes, line breaks and control characters included. That is too
    short for a line of its own that matches.
    """
    for found in SOCKET.finditer(output("ss", "-H", "-l", "-n", "-p", kind)):
        if not found["address"].strip("[]").startswith(("127.", "::1", "::ffff:127.")):
            program = "".join(c if c.isprintable() else "?" for c in found["program"] or "?")
            yield int(found["port"]), program, found["pid"] or "?"


def enabled(services: Iterable[str]) -> Iterator[str]:
    """Yield the services that run, or would after a reboot."""
    for name in services:
        states = output("systemctl", "show", "-p", "ActiveState,UnitFileState", name).split()
        if {"ActiveState=active", "UnitFileState=enabled"} & {*states}:
            yield name


def timekeeper() -> str:
    """Return what keeps the clock: a service, or one that is stopped, "container" or "none"."""
    if output("systemd-detect-virt", "--container").strip() not in {"", "none"}:
        return "container"  # the clock is its host's
    units = [f"{name}.service" for name in TIMEKEEPERS]
    shown = output("systemctl", "show", "-p", "Id,LoadState,ActiveState", *units).split("\n\n")
    states = [dict(line.split("=", 1) for line in each.splitlines()) for each in shown if each]
    there = [state for state in states if state.get("LoadState") == "loaded"]
    there.sort(key=lambda state: state.get("ActiveState") != "active")
    if not there:
        return "none"
    name = there[0]["Id"].removesuffix(".service")
    return name if there[0]["ActiveState"] == "active" else f"{name} (stopped)"


def sites() -> Iterator[str]:
    """Yield the sites of an nginx that is not ours, but for the one that Debian brings."""
    for pattern in ("sites-enabled/*", "conf.d/*.conf"):
        for path in sorted(Path("/etc/nginx").glob(pattern)):
            if path.resolve() != Path("/etc/nginx/sites-available/default"):
                yield path.name


def taken(app: str, paths: Sequence[str]) -> list[str]:
    """Return what of an app's name is there already, unless onebox began to make it."""
    if OURS in read(f"/etc/sysusers.d/{app}.conf"):
        return []
    found = [f"the folder {path}" for path in paths if Path(path).is_dir()]
    found += [f"the file {path}" for path in paths if Path(path).is_file()]
    found += [f"the user {user.pw_name}" for user in pwd.getpwall() if user.pw_name == app]
    if Path("/usr/bin/psql").exists():
        query = "select datname from pg_database"
        databases = output("runuser", "-u", "postgres", "--", "psql", "-XqAtc", query).split()
        found += [f"the database {app}"] * (app in databases)
    return found


def apt(packages: Sequence[str], patience: float) -> str:
    """Return who holds apt's lock after so many seconds, if packages must be installed."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}\n", *packages]
    if output(*query).split() == ["installed"] * len(packages):
        return ""
    deadline = time.monotonic() + patience
    while (holder := lock_holder()) and time.monotonic() < deadline:
        time.sleep(1)
    return f"{read(f'/proc/{holder}/comm').strip()} (process {holder})" if holder else ""


def lock_holder() -> int:
    """Return the process that has apt's lock, or 0."""
    if not LOCK.exists():
        return 0
    with LOCK.open("rb+") as file:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def read(path: str) -> str:
    """Return a file's text, or nothing where there is none."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def output(*command: str) -> str:
    """Return what a command prints; nothing where there is no such program."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, cwd="/"
        ).stdout
    except FileNotFoundError:
        return ""
