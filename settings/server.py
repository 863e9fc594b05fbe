"""The settings of a server: typed and frozen, each with its unit and default.

An app's settings are in app.py. `servers()` validates the whole inventory before any connection,
and reports all mistakes at once.
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo

from settings.app import App
from settings.conflicts import conflicts, server_paths
from settings.exit_codes import REFUSED
from settings.mistakes import Mistake, from_pydantic, invalid, report
from settings.model import Settings
from settings.placeholders import placeholders
from settings.secrets import secrets_of
from settings.transport import configure_pyinfra, no_delay
from settings.values import (
    AcmeDirectory,
    Address,
    EmailAddress,
    EnvironmentName,
    ExistingFile,
    OneLine,
    ParameterName,
    PublicKey,
    Schedule,
    ServerSecret,
    UrlOrSecret,
)

RESERVED_CONNECTIONS = 3  # PostgreSQL's superuser_reserved_connections
MIGRATION_CONNECTIONS = 5  # at most, of an app's migrations and `fab psql --owner`


class TLS(Settings):
    """Certificates from an ACME server."""

    server: AcmeDirectory = "letsencrypt"
    """ACME directory: "letsencrypt", "letsencrypt-staging", or a URL."""
    server_ca: ExistingFile | None = None
    """PEM file of the CA of an ACME server of your own. None: the system's CAs."""
    profile: OneLine = "classic"
    """Certificate profile to request, if the ACME server offers several."""
    email: OneLine | None = None
    """Contact address for the certificate authority."""


class PostgreSQL(Settings):
    """The PostgreSQL cluster on the server, installed if an app has a "local" database."""

    max_connections: int = Field(default=100, ge=10, le=1000)
    """Connections to the cluster. All but 3, reserved for superusers, are divided among the apps'
    roles; an app finds its limit in DATABASE_CONNECTIONS. The connection pools of two
    releases together must stay below it."""
    shared_buffers: int | None = Field(default=None, ge=16)
    """MiB, at most half of the memory. None: an eighth of the memory, between 32 and 1024, or 128
    if an older onebox set that. A quarter is usual for a server that runs nothing else. A change
    restarts PostgreSQL; a value that it can't start with is rolled back."""
    temp_file_limit: int | None = Field(default=None, ge=64)
    """MiB of temporary files (sorts, hashes) per session of an app. None: a tenth of the disk, at
    least 1024. Superusers, who restore dumps, have no limit."""


class DeployKey(Settings):
    """An SSH key, as for CI, that may only release the named apps and read their status."""

    key: PublicKey
    """Public key, as in "ssh-ed25519 AAAA... ci"."""
    apps: list[OneLine] = Field(min_length=1)
    """Names of the apps that the key may release."""

    @property
    def fingerprint(self) -> str:
        """Return the key's fingerprint, as `ssh-keygen -l` prints it."""
        digest = sha256(b64decode(f"{self.key.split()[1]}==")).digest()
        return f"SHA256:{b64encode(digest).decode().rstrip('=')}"


class Email(Settings):
    """An account on your or your provider's mail server."""

    to: list[EmailAddress] = Field(min_length=1)
    """Recipients."""
    sender: EmailAddress
    """Sender; the mail server must allow it for this account."""
    server: Address
    """Host name of the mail server, as in "smtp.example.com"."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """Encryption of the connection; the mail server's certificate must be trusted."""
    port: Annotated[int | None, AfterValidator(lambda v, i: v or _default_port(i))] = Field(
        default=None, ge=1, le=65_535
    )
    """Port of the mail server. None: 587 for "starttls", 465 for "tls", 25 for "none"."""
    user: OneLine | None = None
    """User to log in as. None: no login."""
    password: ServerSecret | None = None
    """Name of the password's secret: "SMTP_PASSWORD" is ONEBOX_SMTP_PASSWORD in secrets.env."""


class Notify(Settings):
    """Notifications when monitoring finds a problem and when it is resolved, on each channel set.

    To send a test message, run `sudo onebox-checks test` on the server."""

    email: Email | None = None
    """E-mail account and recipients."""
    webhook: UrlOrSecret | None = None
    """URL that receives JSON; chat services display its field `text`. Or the name of a secret with
    the URL: "WEBHOOK" is ONEBOX_WEBHOOK in secrets.env."""
    command: OneLine | None = None
    """Command on the server that reads the same JSON from standard input, without privileges."""
    deploys: bool = False
    """Also notify of successful deploys and rollbacks."""
    hourly: int = Field(default=12, ge=1, le=1000)
    """Maximum messages per hour; urgent problems may use the same number again. The rest is sent
    later, in one message."""


class Checks(Settings):
    """Monitoring of the server by a timer; docs/checks.md lists the checks."""

    every: int = Field(default=300, ge=5, le=3600)
    """Seconds between two rounds of checks. Most problems are reported when two rounds in a row
    find them."""
    ping: UrlOrSecret | None = None
    """URL of a dead man's switch, requested after each round without an urgent problem; or the name
    of a secret with the URL."""


class Updates(Settings):
    """Security updates, which are installed daily. Running processes keep the old libraries until
    they restart."""

    restart: Schedule | None = "Sun 04:00"
    """Start of the maintenance window, as systemd's OnCalendar=, in the server's time zone. Only
    then does onebox restart processes that use replaced libraries. It skips the window if deploys
    are on hold or the server is being deployed, and waits up to 10 minutes for a release of one
    app. Apps are switched and nginx is upgraded in place, so that no request fails; only those that
    need the database can, for the second in which PostgreSQL restarts. None: no restarts, only a
    check's report."""


class VM(Settings):
    """A server and its apps."""

    environment: EnvironmentName | None = None
    """The server's environment, as in "production". The server records it and refuses deploys for
    another. Secrets are then read from secrets.production.env instead of secrets.env."""
    address: Address
    """IP address, host name, or a Host in your ssh_config."""
    public_address: Address | None = None
    """Address at which clients reach ports 80 and 443 if it isn't `address`, as behind NAT or port
    forwarding. DNS, the ports and the certificates are checked against it."""
    ssh_user: OneLine = Field(default="root", min_length=1)
    """root, or a user with passwordless sudo."""
    ssh_port: int | None = Field(default=None, ge=1, le=65_535)
    """SSH port. None: your ssh_config's, or 22."""
    ssh_key: ExistingFile | None = None
    """Private key file. None: your ssh_config's, your agent's and the default files."""
    ssh_config: ExistingFile | None = None
    """ssh_config file to use instead of your own. None: the one in ONEBOX_SSH_CONFIG, if set."""
    authorized_keys: list[PublicKey] = Field(default_factory=list)
    """The only public keys that may log in as `ssh_user`. Empty: deploys leave all keys as they
    are, and `fab drift` reports those that were added since the first deploy."""
    apps: list[App] = Field(min_length=1)
    """Apps to run on the server."""
    tls: TLS = TLS()
    """Certificates."""
    postgresql: PostgreSQL = PostgreSQL()
    """The PostgreSQL cluster."""
    take_over: list[Literal["nginx", "postgresql", "firewall"]] = Field(default_factory=list)
    """Services set up by others that onebox may reconfigure."""
    journal: int = Field(default=500, ge=50)
    """MiB of disk space for the journal."""
    log_redact: list[ParameterName] = Field(
        default=[
            "token", "code", "password", "passwd", "pwd", "secret", "signature", "sig", "key",
            "auth", "credential", "session", "sid", "jwt", "otp", "ticket", "assertion",
            "SAMLResponse",
        ]
    )  # fmt: skip
    """Suffixes of query parameter names, in any case: "token" matches access_token. nginx logs a
    query up to the first match, and redacts the Referer likewise."""
    deploy_keys: Annotated[list[DeployKey], AfterValidator(lambda v, i: _releasable_apps(v, i))] = (
        Field(default_factory=list)
    )
    """Restricted SSH keys for releasing apps, as from CI."""
    notify: Notify = Notify()
    """Notifications about problems."""
    checks: Checks = Checks()
    """Monitoring of the server."""
    updates: Updates = Updates()
    """Restarts after security updates."""

    @property
    def connections(self) -> tuple[int, int]:
        """Return the connection limits of each app and of each app's migrations."""
        available = self.postgresql.max_connections - RESERVED_CONNECTIONS
        share = available // max(1, len(self.local_apps))
        migrations = max(1, min(MIGRATION_CONNECTIONS, share // 4))
        return max(1, share - migrations), migrations

    @property
    def local_apps(self) -> list[App]:
        """Return the apps with a database on the server."""
        return [app for app in self.apps if app.database == "local"]

    def chosen(self, name: str | None) -> list[App]:
        """Return the app of that name, or all apps; exit with code 4 if there is none."""
        if name and name not in (app.name for app in self.apps):
            names = ", ".join(app.name for app in self.apps)
            _refuse(f"{self.address} has no app {name}; its apps: {names}. Nothing was changed.")
        return [app for app in self.apps if not name or app.name == name]


def servers(*vms: Mapping[str, Any], beside: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return pyinfra's hosts for an inventory's servers; exit with code 4 on a mistake.

    `beside` is the inventory's `__file__`: paths are relative to its folder, which also holds
    secrets.env. Environment variables override that file.
    """
    root = Path(beside).resolve().parent if beside else Path.cwd()
    try:
        paths = zip(vms, server_paths(vms), strict=True)
        checked = [_check(vm, path, root) for vm, path in paths]
    except ValueError as error:
        _refuse(f"{error}\nNo server was contacted.")
    name = Path(beside).name or "the inventory"
    if mistakes := [*(mistake for _, found in checked for mistake in found), *conflicts(vms)]:
        _refuse(report(name, mistakes))
    if "pyinfra" in sys.modules:
        configure_pyinfra()
    return [
        (vm.address, {**_host_data(vm), "unedited": _unedited(name, [*placeholders(vm, path)])})
        for (vm, _), path in zip(checked, server_paths(vms), strict=True)
        if vm
    ]


def _unedited(name: str, mistakes: list[Mistake]) -> str:
    """Return the message that refuses to connect while the inventory has placeholders."""
    return report(name, mistakes) if mistakes else ""


def _check(vm: object, path: str, root: Path) -> tuple[VM | None, list[Mistake]]:
    file, secrets = secrets_of(vm, root)
    context = {"root": root, "secrets_file": file, "secrets": {**secrets, **os.environ}}
    try:
        return VM.model_validate(vm, context=context), []
    except ValidationError as error:
        return None, [from_pydantic(e, VM, path) for e in error.errors()]


def _releasable_apps(keys: list[DeployKey], info: ValidationInfo) -> list[DeployKey]:
    apps: dict[str, App] = {app.name: app for app in info.data.get("apps", [])}
    for name in (name for key in keys for name in key.apps if "apps" in info.data):
        if name not in apps:
            raise invalid("names of this server's apps", f"remove {name}", found=f'"{name}"')
        if apps[name].build:
            raise invalid(
                "apps with `build` off, as a key could run code while packages are installed",
                f"remove {name}, or its `build`",
                found=f'"{name}" with `build` on',
            )
    return keys


def _default_port(info: ValidationInfo) -> int:
    return {"tls": 465, "none": 25}.get(info.data.get("security", ""), 587)


def _host_data(vm: VM) -> dict[str, Any]:
    ssh = {
        "ssh_user": vm.ssh_user,
        "ssh_port": vm.ssh_port,
        "ssh_key": str(vm.ssh_key) if vm.ssh_key else None,
        "ssh_config_file": str(vm.ssh_config or os.environ.get("ONEBOX_SSH_CONFIG") or "") or None,
        "ssh_paramiko_connect_kwargs": {"transport_factory": no_delay},
    }
    return {
        **{key: value for key, value in ssh.items() if value},
        "vm": vm,
        "_sudo": vm.ssh_user != "root",
        "_shell_executable": "nice -n 5 sh",  # web requests have priority
    }


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(REFUSED)
