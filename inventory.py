"""Your server. All settings: docs/settings.md. Secrets: secrets.env."""

from settings import servers

hosts = servers(
    {
        "address": "203.0.113.10",
        "ssh_user": "root",
        "tls": {"email": "you@example.com"},
        "apps": [
            {
                "name": "links",
                "source": "app",
                "module": "links.main:app",
                "domains": ["links.example.com"],
                "migrate": "alembic upgrade head",
                "processes": [{"name": "worker", "command": "python -m links.worker"}],
            },
        ],
    },
    beside=__file__,
)
