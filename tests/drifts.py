"""Manual changes of a server, what `fab drift` reports of each, and the deploy that fixes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch

from tests.lab_server import PROJECT, Server

LIVE = "$(basename $(readlink /srv/links/current))"
PSQL = "cd / && runuser -u postgres -- psql -Xqc"
WEB = "/etc/systemd/system/links-web@.service"
OWN = f"/etc/systemd/system/links-{{}}@{LIVE}.service"
RELOAD = "systemctl daemon-reload"
AGAIN = f"{RELOAD} && systemctl restart links-web@{LIVE}"
CLUSTER = "$(systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1)"
ENVIRONMENT = "systemctl show -p Environment --value onebox-certbot.service"
ACME = "sed -n 's/^server = //p' /etc/letsencrypt/renewal/links.conf"
CERTBOT = (
    "/usr/local/lib/onebox/certbot/bin/certbot certonly -q -n --webroot -w /var/lib/onebox/acme"
    " --cert-name links --renew-with-new-domains"
)
NGINX = "nginx.service.d/foreign.conf"
OTHER = "/etc/onebox/nginx/sites/other.conf"
OTHERS = (
    "echo 'server { listen 80; listen [::]:80; root /var/lib/onebox/acme;"
    " server_name www.{domain}; }'"
    f" > {OTHER} && systemctl reload nginx && sleep 1"
    f" && env $({ENVIRONMENT}) {CERTBOT} --force-renewal -d www.{{domain}} --server $({ACME})"
    f" && rm {OTHER} && systemctl reload nginx"
)

# By what was changed: the command, and the reported difference, where * is any text.
DRIFTS = {
    "an edited unit file": (
        "echo '# edited' >> /etc/systemd/system/links.service",
        "/etc/systemd/system/links.service was edited",
    ),
    "a missing file": (
        "rm /etc/apt/apt.conf.d/99zz-onebox",
        "/etc/apt/apt.conf.d/99zz-onebox is missing",
    ),
    "an extra file": ("touch /etc/links/notes", "/etc/links/notes is extra"),
    "an extra file of our program": (
        "echo 'x = 1' > /usr/local/lib/onebox/programs/onebox_release/json.py",
        "/usr/local/lib/onebox/programs/onebox_release/json.py is extra",
    ),
    "our program": (
        "echo >> /usr/local/lib/onebox/programs/onebox_release/core/switch.py",
        "/usr/local/lib/onebox/programs/onebox_release/core/switch.py was edited",
    ),
    "a secret's mode": (
        "chmod 644 /etc/links/secrets.env",
        "/etc/links/secrets.env has mode 644, not 600",
    ),
    "the secret key's mode": (
        "chmod 640 /etc/links/generated.env",
        "/etc/links/generated.env has mode 640, not 600",
    ),
    "a folder's owner": (
        "chown root:root /var/lib/links",
        "/var/lib/links has owner root:root, not links:links",
    ),
    "the app's environment": (
        "echo DEBUG=1 >> /etc/links/app.env",
        "/etc/links/app.env was edited",
    ),
    "a stopped nginx": ("systemctl stop nginx", "nginx.service is inactive"),
    "a stopped worker": (
        f"systemctl stop links-worker@{LIVE}",
        "links-worker@*.service is stopped",
    ),
    "a stopped release": (f"systemctl stop links@{LIVE}.target", "release * is not running"),
    "a disabled unit": ("systemctl disable links.service", "links.service does not start at boot"),
    "a disabled cluster": (
        "systemctl disable postgresql.service",
        "postgresql.service does not start at boot",
    ),
    "a masked nginx": ("systemctl mask nginx", "nginx.service is masked"),
    "a masked timer": (
        "systemctl stop onebox-certbot.timer; systemctl mask --runtime onebox-certbot.timer",
        "onebox-certbot.timer is inactive",
    ),
    "a foreign drop-in of nginx": (
        f"printf '[Service]\\nNice=5\\n' > /etc/systemd/system/{NGINX}; systemctl daemon-reload",
        f"/etc/systemd/system/{NGINX} overrides nginx.service",
    ),
    "a property set for PostgreSQL": (
        f"systemctl set-property {CLUSTER} CPUWeight=50",
        "/etc/systemd/system.control/*/50-CPUWeight.conf overrides postgresql@*-main.service",
    ),
    "a foreign drop-in of the app": (
        f"mkdir {WEB}.d && printf '[Service]\\nNice=5\\n' > {WEB}.d/mine.conf && {AGAIN}",
        f"{WEB}.d/mine.conf overrides our unit",
    ),
    "a masked worker": (
        f"systemctl stop links-worker@{LIVE}; ln -sf /dev/null {OWN.format('worker')}; {RELOAD}",
        "/etc/systemd/system/links-worker@*.service was altered",
    ),
    "the sandbox of future releases": (
        f"sed -i s/NoNewPrivileges=yes// {WEB} && {AGAIN}",
        f"{WEB} was edited",
    ),
    "the release's own sandbox, and a restart": (
        f"sed -i s/NoNewPrivileges=yes// {OWN.format('web')} && {AGAIN}",
        "/etc/systemd/system/links-web@*.service was altered",
    ),
    "a unit of a removed process": (
        "cp /etc/systemd/system/links-worker@.service /etc/systemd/system/links-mailer@.service",
        "/etc/systemd/system/links-mailer@.service belongs to no process",
    ),
    "a removed package": (
        "apt-get -qq remove -y unattended-upgrades",
        "package unattended-upgrades is not installed",
    ),
    "nginx's configuration": (
        "echo '# edited' >> /etc/onebox/nginx/sites/links.conf",
        "/etc/onebox/nginx/sites/links.conf was edited",
    ),
    "an extra site": (
        "echo '# extra' > /etc/onebox/nginx/sites/extra.conf && systemctl reload nginx",
        "/etc/onebox/nginx/sites/extra.conf is extra",
    ),
    "a role's attributes": (
        f'{PSQL} "alter role links superuser"',
        "role links has attributes other than LOGIN (found SUPERUSER)",
    ),
    "a role's connection limit": (
        f'{PSQL} "alter role links connection limit -1"',
        "role links has connection limit -1, not *",
    ),
    "a renamed migration role": (
        f'{PSQL} "alter role \\"links-migrate\\" rename to \\"old links\\""',
        "database links has objects owned by 'old links', not links-migrate",
    ),
    "a migration role whose objects the superuser owns": (
        f'{PSQL} "reassign owned by \\"links-migrate\\" to postgres" links',
        "database links has objects owned by 'postgres', not links-migrate",
    ),
    "a database that its owner limits": (
        f'{PSQL} "alter database links connection limit 60 is_template true"',
        "database links refuses or limits connections, or is a template",
    ),
    "a right of another role": (
        f'{PSQL} "grant connect on database links to pg_monitor"',
        "database links gives CONNECT to *, not links",
    ),
    "an open template1": (
        f'{PSQL} "grant connect on database template1 to public"',
        "database template1 is open to every role",
    ),
    "a role's password": (f"{PSQL} \"alter role links password 'x'\"", "role links has a password"),
    "a role's settings": (
        f'{PSQL} "alter role \\"links-migrate\\" reset all"',
        "role links-migrate has settings of nothing, not lock_timeout, *",
    ),
    "a database's rights": (
        f'{PSQL} "grant all on database links to public"',
        "database links gives CONNECT to *, not links*",
    ),
    "pg_hba": (
        "echo 'host all all 0.0.0.0/0 trust' >> /etc/onebox/postgresql/pg_hba.conf",
        "/etc/onebox/postgresql/pg_hba.conf was edited",
    ),
    "PostgreSQL's settings": (
        f"{PSQL} \"alter system set listen_addresses = '*'\"",
        "setting listen_addresses is overridden in postgresql.auto.conf",
    ),
    "the firewall in the kernel": (
        "nft add rule inet onebox input tcp dport 8080 accept",
        "onebox-firewall.service is active, but not in effect",
    ),
    "the firewall's rules": (
        "sed -i s/443/8443/ /etc/onebox/firewall.nft",
        "/etc/onebox/firewall.nft was edited",
    ),
    "passwords in sshd": (
        "rm /etc/ssh/sshd_config.d/00-onebox.conf && systemctl reload ssh",
        "/etc/ssh/sshd_config.d/00-onebox.conf is missing",
    ),
    "a release's code": (
        "echo '# edited' >> /srv/links/current/app/links/main.py",
        "/srv/links/releases/*/app/links/main.py was altered",
    ),
    "a file beside a release's code": (
        "touch /srv/links/current/app/links/extra.py",
        "/srv/links/releases/*/app/links/extra.py is extra",
    ),
    "a release's packages": (
        "echo '# edited' >> $(ls /srv/links/current/venv/lib/*/site-packages/fastapi/routing.py)",
        "/srv/links/releases/*/venv/lib/*/site-packages/fastapi/routing.py was altered",
    ),
    "a release's environment": (
        f"echo DEBUG=1 >> /etc/links/releases/{LIVE}.env",
        "/etc/links/releases/*.env was altered",
    ),
    "a certificate that nothing renews": (
        "rm /etc/letsencrypt/renewal/links.conf",
        "certificate links is not renewed by *",
    ),
    "a removed certbot": (
        "rm -r /usr/local/lib/onebox/certbot",
        "/usr/local/lib/onebox/certbot is not what uv.lock pins",
    ),
    "a certificate for other names": (
        OTHERS,
        "certificate links is for www.*, not for *",
    ),
    "the home of an app's user": (
        "sed -Ei 's|^(links:.*):/nonexistent:|\\1:/var/lib/links:|' /etc/passwd",
        "user links has home /var/lib/links and shell /usr/sbin/nologin",
    ),
    "a manager of an app's user": (
        "systemctl unmask user@$(id -u links).service",
        "user links can have a systemd user manager",
    ),
    "a removed user": ("userdel links-migrate", "user links-migrate is missing"),
}  # fmt: skip


@dataclass(frozen=True)
class DriftReport:
    """What `fab drift` reports."""

    code: int
    deploy: list[str]
    person: list[str]


def fab(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fab command for a server."""
    server.pyinfra("--help")  # writes the inventory
    return subprocess.run(
        [sys.executable, "-m", "fabric", *arguments],
        cwd=PROJECT,
        env=os.environ | {"ONEBOX_INVENTORY": str(server.inventory)},
        capture_output=True,
        text=True,
        check=False,
    )


def drift(server: Server) -> DriftReport:
    """Return the server's drift."""
    result = fab(server, "drift", "--json")
    assert result.stdout, result.stderr
    document = json.loads(result.stdout)
    assert (document["schema"], document["host"]) == (1, server.host.name)
    report = {
        kind: [f"{each['what']} {each['how']}" for each in found]
        for kind, found in document["data"].items()
    }
    return DriftReport(result.returncode, **report)


def break_and_repair(server: Server, what: str) -> list[str]:
    """Make a manual change; check that drift reports it and a deploy fixes it; return the drift."""
    command, difference = DRIFTS[what]
    server.run(command.replace("{domain}", server.domain))
    found = drift(server)
    assert found.code == 2, found
    assert any(fnmatch(line, difference) for line in found.deploy), found
    server.deploy()
    assert drift(server) == DriftReport(0, [], [])
    assert server.deploy()["success"] == []
    return found.deploy
