"""A lab host, as its user would describe it in an inventory."""

from __future__ import annotations

from typing import Any

from lab.hosts import Host


def entry(host: Host, user: str = "root") -> dict[str, Any]:
    """Return a lab host's entry; only address and certificate authority are the lab's."""
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
                "processes": [{"name": "worker", "command": "python -m links.worker"}],
            },
        ],
    }
