"""Helpers for the short and the long tests of unattended deploys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.lab_server import LONG, PROJECT, Server
from tests.workflow import Runner, checkout

PRODUCTION = "echo production > /etc/onebox/environment"
TOKEN = "sk_live_hidden"  # noqa: S105 - must appear in no output


def fab(server: Server, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a fab command with a server's inventory."""
    return subprocess.run(
        [sys.executable, "-m", "fabric", *arguments],
        cwd=PROJECT,
        env={**os.environ, **variables(server), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )


def variables(server: Server) -> dict[str, str]:
    """Return the environment variables that make commands use this server."""
    inventory = {"ONEBOX_INVENTORY": str(server.write())}
    return {**inventory, "SSL_CERT_FILE": str(server.host.acme_root)}


def runner_for(server: Server, folder: Path) -> Runner:
    """Return a CI runner with GitHub's variables, and both environments on one server."""
    project, temporary = checkout(folder / "checkout"), folder / "runner"
    temporary.mkdir()
    app = {**server.app, "source": "tests/faults/probe", "secrets": ["TOKEN"]}
    entry = {**server.entry, "address": server.host.address, "apps": [app]}
    del entry["ssh_config"]
    for name in ("staging", "production"):
        settings = {**entry, "environment": name}
        # Generated code: the linters of the gate skip it.
        text = "# ruff: noqa: E501\n# fmt: off\nfrom settings import servers\n\n"
        text += f"hosts = servers({settings!r}, beside=__file__)\n"
        (project / f"{name}.py").write_text(text)
    key = server.host.ssh_config.parent / "id_ed25519"
    given = {
        "secrets.ONEBOX_SSH_KEY": key.read_text(),
        "secrets.ONEBOX_SECRETS": f"PROBE_TOKEN={TOKEN}",
        "vars.ONEBOX_KNOWN_HOSTS": (key.parent / "known_hosts").read_text(),
    }
    return Runner(project, temporary, given, {"SSL_CERT_FILE": str(server.host.acme_root)})
