"""Run uv as a user of its own, in a unit that sees only the server's programs.

The unit's root is empty except for what is listed here. It can write to a new environment, mounted
at its final path, and to a cache that no other app's deploy reads; deploy keys have a separate
cache.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import pwd
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.host import resources
from onebox_release.install import failures
from onebox_release.install.credentials import Credentials
from onebox_release.install.packages import Project

UV = "/usr/local/lib/onebox/uv/bin/uv"
INSIDE = "/usr/local/lib/onebox/programs/onebox_release/install/inside.py"
SHARED = Path("/var/cache/onebox/uv")  # a shared cache of an older onebox
SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/project/known_hosts"

# Seconds: PyTorch's 3 GB take 1,000 at 25 Mbit/s; compiling a C++ library takes less.
LONGEST = 1800
TASKS = 512  # uv has 50 connections and a thread per core; `make -j` starts some more
LARGEST = 4 << 30  # bytes of one file; PyTorch's largest has 2.5 GB
# Of the server's memory. uv used 120 MB for the sample app; it is killed before an app is.
MEMORY = "50%"
EVERY = 0.1  # seconds between two checks of the disk, which writes at most 100 MB in that time
OUTPUT = 64 * 1024  # bytes of the end of uv's output

VISIBLE = (
    "/etc/alternatives", "/etc/ca-certificates", "/etc/gai.conf", "/etc/gitconfig", "/etc/group",
    "/etc/host.conf", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd", "/etc/protocols",
    "/etc/resolv.conf", "/etc/services", "/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d",
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/uv",
)  # fmt: skip
LINKS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")  # to /usr, in Debian since 12
# Clouds serve the server's user data and keys there. Blocked twice, because a kernel may lack the
# filter for units. DNS is allowed, as some clouds' name servers are link-local.
UNREACHABLE = ("link-local", "fd00:ec2::254", "100.100.100.200")
FENCE = """
table inet {table}
delete table inet {table}
table inet {table} {{
    chain output {{
        type filter hook output priority filter; policy accept;
        meta skuid {user} ip daddr {{ 169.254.0.0/16, 100.100.100.200 }} th dport != 53 reject
        meta skuid {user} ip6 daddr {{ fe80::/10, fd00:ec2::254 }} th dport != 53 reject
    }}
}}
"""

PROPERTIES = {
    "Type": "exec",
    "UMask": "0022",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "MountAPIVFS": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "PrivateMounts": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "LockPersonality": "yes",
    "RemoveIPC": "yes",
    "KeyringMode": "private",
    "DevicePolicy": "closed",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "SystemCallErrorNumber": "EPERM",
    "RuntimeMaxSec": str(LONGEST),
    "TimeoutStopSec": "5",
    "MemoryMax": MEMORY,
    "TasksMax": str(TASKS),
    "LimitFSIZE": str(LARGEST),
    "LimitCORE": "0",
    "OOMScoreAdjust": "1000",
    "IOWeight": "20",
    "CPUWeight": "20",
}


@dataclass(frozen=True)
class Builder:
    """An app's build user, its unit and folders."""

    app: App
    by_key: bool

    @property
    def user(self) -> str:
        """Return the user's name."""
        return f"{self.app.name}-build"

    @property
    def unit(self) -> str:
        """Return the unit's name."""
        return f"onebox-build-{self.app.name}.service"

    @property
    def _table(self) -> str:
        return f"onebox-build-{self.app.name}"

    @property
    def root(self) -> Path:
        """Return the folder that holds the unit's root."""
        return self.app.root / "run" / f"onebox-build-{self.app.name}"

    @property
    def cache(self) -> Path:
        """Return uv's cache; an administrator's deploy uses nothing that a deploy key submitted."""
        return self.app.caches / ("by-key" if self.by_key else "by-person")

    def install(
        self, project: Project, venv: Path, staging: Path, credentials: Credentials
    ) -> None:
        """Install a project's packages in `staging`, as an environment with the path `venv`.

        Raises ReleaseError if that fails. No process of the user is left afterwards.
        """
        self.stop()
        with self._prepared(project, staging):
            code, output, why = self._run(_job(project, venv, credentials), venv, staging)
            self.stop()
        self._trim(staging)
        if code or why:
            if self.by_key:  # built code could have poisoned it
                remove(self.cache)
            raise ReleaseError(
                failures.message(output, why, project.names, credentials, self.by_key)
            )

    def stop(self) -> None:
        """Stop all processes of the user, including those of a killed deploy."""
        subprocess.run(["systemctl", "stop", self.unit], capture_output=True, check=False)
        if left := _processes(_lookup(self.user).pw_uid):
            raise ReleaseError(
                f"{self.user} still runs processes {left}. Kill them and deploy again."
            )

    @contextmanager
    def _prepared(self, project: Project, staging: Path) -> Iterator[None]:
        """Create the folders and firewall rules of one run, and remove them afterwards."""
        user = _lookup(self.user)
        remove(self.root, SHARED)
        self.root.mkdir(mode=0o700)
        try:
            for name in ("root", "project"):
                (self.root / name).mkdir()
                (self.root / name).chmod(0o755)
            for name in LINKS:
                if (Path("/") / name).is_symlink():
                    (self.root / "root" / name).symlink_to(f"usr/{name}")
            known_hosts = self.app.configuration / "known_hosts"
            hosts = known_hosts.read_bytes() if known_hosts.exists() else b""
            for name, content in {**project.files, "known_hosts": hosts}.items():
                path = self.root / "project" / name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o644)
            for folder in (self.cache, staging):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
            _nft(FENCE.format(table=self._table, user=user.pw_uid))
            yield
        finally:
            remove(self.root)
            _nft(f"table inet {self._table}\ndelete table inet {self._table}\n")

    def _run(self, job: str, venv: Path, staging: Path) -> tuple[int, str, str]:
        """Run the unit; return its exit code, its output, and why it was stopped."""
        command = ["systemd-run", "--wait", "--collect", "--pipe", f"--unit={self.unit}"]
        command += [f"--property={line}" for line in self._properties(venv, staging)]
        command += ["/usr/bin/python3", "-I", "-B", "-S", INSIDE]
        tail = Tail()
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            reader = Thread(target=tail.read, args=(process.stdout,), daemon=True)
            reader.start()
            writer = Thread(target=_write, args=(process.stdin, job.encode()), daemon=True)
            writer.start()
            why = self._watched(process, staging)
            # The unit has ended, so its ends of the pipes are closed.
            writer.join(timeout=10)
            reader.join(timeout=10)
        output = tail.text()
        if result := re.search(r"^Finished with result: ([a-z-]+)$", output, re.MULTILINE):
            why = why or failures.STOPPED.get(result[1], "")
        return process.returncode, output, why

    def _watched(self, process: subprocess.Popen[bytes], staging: Path) -> str:
        """Wait for the end, and kill the unit before the disk is full. Return why it was killed."""
        end = time.monotonic() + LONGEST + 60
        why = ""
        while process.poll() is None:
            if not why:
                if resources.is_full(staging) or resources.is_full(self.cache):
                    why = failures.NO_ROOM
                elif time.monotonic() > end:
                    why = failures.STOPPED["timeout"]
                if why:
                    kill = ["systemctl", "kill", "--signal=KILL", self.unit]
                    subprocess.run(kill, capture_output=True, check=False)
            time.sleep(EVERY)
        return why

    def _properties(self, venv: Path, staging: Path) -> Iterator[str]:
        yield from (f"{name}={value}" for name, value in PROPERTIES.items())
        yield "SystemCallFilter=~@privileged"
        yield f"Description=Packages of {self.app.name}"
        yield f"User={self.user}"
        yield f"Group={self.user}"
        yield f"BindsTo={self.app.unit}"
        yield f"RootDirectory={self.root}/root"
        yield "WorkingDirectory=/project"
        yield "BindReadOnlyPaths=/usr"
        yield from (f"BindReadOnlyPaths=-{path}" for path in VISIBLE if Path(path).exists())
        yield f"BindReadOnlyPaths={self.root}/project:/project"
        yield f"BindPaths={self.cache}:/cache"
        yield f"BindPaths={staging}:{venv}"
        yield "TemporaryFileSystem=/tmp:size=64M,mode=1777"
        yield "TemporaryFileSystem=/dev/shm:size=16M,mode=1777"
        yield from (f"IPAddressDeny={address}" for address in UNREACHABLE)
        yield from (f"IPAddressAllow={address}" for address in _name_servers())
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/tmp",  # noqa: S108 - the unit's own
            "TMPDIR": "/cache/tmp",  # on disk: compilers may need more than fits in memory
            "UV_CACHE_DIR": "/cache",
            "UV_PROJECT_ENVIRONMENT": str(venv),
            # A path with a version: a distribution upgrade keeps it for the releases that use it.
            "UV_PYTHON": interpreter(),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_LINK_MODE": "copy",  # the user owns the cache, root the environment
            "UV_KEYRING_PROVIDER": "disabled",
            "UV_NO_PROGRESS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "https:ssh",
            "GIT_SSH_COMMAND": SSH,
        }
        yield from (f'Environment="{name}={value}"' for name, value in environment.items())

    def _trim(self, staging: Path) -> None:
        """Empty a cache that is larger than its benefit: fewer downloads for the next lock file."""
        is_large = resources.used(self.cache) > max(CACHE_BYTES, 2 * resources.used(staging))
        # Empty files take no bytes, so files are counted too.
        if is_large or resources.files(self.cache) > max(CACHE_FILES, 2 * resources.files(staging)):
            remove(self.cache)


# Limits of a cache: bytes, files. The sample app's has 100 MB and 2,600 files.
CACHE_BYTES, CACHE_FILES = 512 << 20, 50_000


class Tail:
    """The end of what is written to a pipe."""

    def __init__(self) -> None:
        self.content = b""

    def read(self, pipe: IO[bytes]) -> None:
        """Read to the end."""
        while chunk := pipe.read1(4096):  # type: ignore[attr-defined]
            self.content = (self.content + chunk)[-OUTPUT:]

    def text(self) -> str:
        """Return the text with control characters escaped."""
        return failures.escape(self.content.decode(errors="replace"))


def interpreter() -> str:
    """Return the path of Python for environments."""
    return os.path.realpath("/usr/bin/python3")


def machine() -> str:
    """Return the architecture, as in names of wheels."""
    return platform.machine()


def remove(*paths: Path) -> None:
    """Delete folders that others wrote. By rm, which handles any depth and follows no links."""
    existing = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if existing:
        subprocess.run(["rm", "-rf", "--one-file-system", "--", *existing], check=False)


def _job(project: Project, venv: Path, credentials: Credentials) -> str:
    options = [] if project.builds else ["--no-build"]
    if project.locked:
        # The project itself is not installed: building it would run its code.
        alone = ["--no-install-project", "--no-install-workspace", "--no-dev"]
        commands = [[UV, "sync", "--locked", *alone, *options]]
    else:
        pip = [UV, "pip", "sync", "--python", str(venv), *options, "requirements.txt"]
        commands = [[UV, "venv", "--quiet", "--allow-existing", str(venv)], pip]
    # Instead of `uv sync --compile-bytecode`, which would run the environment's own Python.
    compiler = ["/usr/bin/python3", "-I", "-S", "-m", "compileall", "-qq", "-j", "0"]
    afterwards = [[*compiler, f"{venv}/lib"], [UV, "cache", "prune", "--quiet"]]
    job = {"commands": commands, "afterwards": afterwards}
    return json.dumps({**job, "environment": credentials.environment, "key": credentials.key})


def _write(pipe: IO[bytes] | None, content: bytes) -> None:
    # If the unit does not start, its output has the reason.
    with suppress(OSError), pipe or nullcontext() as file:
        if file:
            file.write(content)


def _nft(rules: str) -> None:
    command = ["/usr/sbin/nft", "-f", "-"]
    result = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ReleaseError(f"nft cannot load the build user's rules: {result.stderr.strip()[:500]}")


def _lookup(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ReleaseError(f"The user {user} does not exist. Run a full deploy once.") from None


def _processes(user: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if path.stat().st_uid == user:
                    found.append(int(path.name))
            except OSError:  # it has ended
                continue
    return found


def _name_servers() -> Iterator[str]:
    """Yield name servers that would be blocked: those of some clouds are link-local."""
    try:
        lines = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        return
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if address.is_link_local or str(address) in UNREACHABLE:
                yield str(address)
