"""An attacker who holds a restricted deploy key."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from operations.artifact import Artifact
from tests.lab_server import LONG, PROJECT, Server

USER = "onebox-deploy"
UV = PROJECT / ".tools/bin/uv"
BUILT_FILE = """
[project]
name = "evil"
version = "1"

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
WORKSPACE_FILE = """
[project]
name = "whole"
version = "1"
requires-python = ">=3.11"
dependencies = ["evil"]

[tool.uv.sources]
evil = {workspace = true}

[tool.uv.workspace]
members = ["evil"]
"""


@dataclass(frozen=True)
class Keyholder:
    """A private key, and the server that accepts it."""

    server: Server
    key: Path

    @classmethod
    def of(cls, server: Server, folder: Path) -> Keyholder:
        """Make a key pair in a folder."""
        key = folder / "deploy-key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ci", "-f", str(key)]
        subprocess.run(command, check=True)
        return cls(server, key)

    @property
    def public(self) -> str:
        """Return the public key in the inventory's format."""
        return self.key.with_suffix(".pub").read_text().strip()

    @property
    def options(self) -> list[str]:
        """Return the options of ssh, sftp and scp."""
        pairs = (
            "BatchMode=yes", "StrictHostKeyChecking=yes", "LogLevel=ERROR", "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.server.host.ssh_config.parent}/known_hosts",
            f"IdentityFile={self.key}",
        )  # fmt: skip
        return ["-F", "none", *(word for pair in pairs for word in ("-o", pair))]

    @property
    def config(self) -> Path:
        """Return an ssh_config with these options."""
        path = self.key.with_name("ssh_config")
        pairs = (option.replace("=", " ", 1) for option in self.options[3::2])
        path.write_text("\n".join(["Host *", *pairs, ""]))
        return path

    @property
    def destination(self) -> str:
        """Return the destination for ssh."""
        return f"{USER}@{self.server.host.address}"

    def ssh(self, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ssh with these options."""
        return self.run("ssh", *self.options, *arguments, given=given)

    @contextmanager
    def connected(self) -> Iterator[list[str]]:
        """Hold a connection open; yield the options of ssh that use it."""
        path = self.key.with_name("connection")
        through = [*self.options, "-o", f"ControlPath={path}"]
        command = ["ssh", *through, "-o", "ControlMaster=yes", "-N", self.destination]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as master:
            deadline = time.monotonic() + LONG
            while not path.exists() and master.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            try:
                yield through
            finally:
                master.terminate()

    def submit(self, archive: Artifact, app: str = "probe") -> subprocess.CompletedProcess[bytes]:
        """Submit an archive as an app's next release."""
        return self.ssh(self.destination, f"submit {app} {archive.digest}", given=archive.content)

    def run(self, *command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command on this machine."""
        return subprocess.run(
            command, input=given, capture_output=True, check=False, timeout=LONG, cwd=PROJECT
        )


def archive(*members: tuple[tarfile.TarInfo, bytes], base: Artifact | None = None) -> Artifact:
    """Return an archive with the members of `base`, then these."""
    buffer = io.BytesIO(gzip.decompress(base.content) if base else b"")
    with tarfile.open(fileobj=buffer, mode="a" if base else "w") as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    return Artifact(gzip.compress(content), sha256(content).hexdigest())


def member(
    name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = ""
) -> tarfile.TarInfo:
    """Return a member of an archive."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, link
    return entry


def evil_builds(folder: Path, log: str, pins: str) -> Path:
    """Make an app with a package beside it whose build runs code.

    The build appends its user's name to `log` on the server. `pins` names the package for uv: a
    line of requirements.txt, or "workspace".
    """
    project = folder / "built"
    shutil.rmtree(project, ignore_errors=True)
    (project / "evil").mkdir(parents=True)
    (project / "evil/pyproject.toml").write_text(BUILT_FILE)
    (project / "evil/backend.py").write_text(f"import os; os.system('id -un >> {log}')\n")
    if pins != "workspace":
        (project / "requirements.txt").write_text(f"{pins}\n")
        return project
    (project / "pyproject.toml").write_text(WORKSPACE_FILE)
    subprocess.run([UV, "lock", "--quiet", "--offline"], cwd=project, check=True)
    return project
