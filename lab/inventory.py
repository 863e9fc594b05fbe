"""The lab's inventory: each host that runs, as a user would describe a server."""

import os
import sys
from pathlib import Path
from typing import Any

from lab.hosts import Host, running
from settings import servers

PROJECT = Path(__file__).resolve().parent.parent


def server(host: Host, user: str = "root") -> dict[str, Any]:
    """Return a lab host's entry: the addresses and keys differ from a user's, nothing else."""
    return {
        "address": host.name,
        "ssh_user": user,
        "ssh_config": str(host.ssh_config),
        "tls": {"server": host.acme_directory, "server_ca": str(host.acme_ca)},
        "apps": [
            {
                "name": "links",
                "source": "app",
                "module": "links.main:app",
                "domains": [host.domains[0]],
                "migrate": "alembic upgrade head",
            },
        ],
    }


_user = os.environ.get("ONEBOX_LAB_USER", "root")
hosts = servers(
    *(server(host, _user) for host in running()),
    beside=str(PROJECT / "inventory.py"),
)
if not hosts:
    print("No lab host is running. Make one: python -m lab up", file=sys.stderr)
    sys.exit(4)
