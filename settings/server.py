"""Every knob of a server: typed, frozen, with its unit and its default.

An app's are in app.py. `servers()` checks a whole inventory before the first connection,
and tells every mistake at once.
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
from settings.conflicts import places, used_twice
from settings.mistakes import Mistake, from_pydantic, report, wrong
from settings.model import Settings
from settings.placeholders import placeholders
from settings.secrets import secrets_of
from settings.transport import no_delay, worded
from settings.values import (
    AcmeDirectory,
    Address,
    EnvironmentName,
    ExistingFile,
    MailAddress,
    OneLine,
    ParameterName,
    PublicKey,
    Schedule,
    SecretOfServer,
    WebAddress,
)

KEPT_FREE = 3  # connections: PostgreSQL's superuser_reserved_connections
MIGRATING = 5  # connections of an app's migrations and of `fab psql --owner`, at most
REFUSED = 4  # exit code of a run that stopped before it touched a server


class TLS(Settings):
    """Certificates, by ACME."""

    server: AcmeDirectory = "letsencrypt"
    """"letsencrypt", "letsencrypt-staging", or the address of another ACME directory."""
    server_ca: ExistingFile | None = None
    """PEM file to trust when asking an ACME server of your own; None trusts the system's."""
    profile: OneLine = "classic"
    """What kind of certificate to ask for, where the server offers several."""
    email: OneLine | None = None
    """Where the certificate authority may write to."""


class PostgreSQL(Settings):
    """The cluster on the server; it is there when an app has a "local" database."""

    max_connections: int = Field(default=100, ge=10, le=1000)
    """Connections to the cluster. All but 3, which stay free for maintenance, are shared out to the
    apps: each role has its limit, and DATABASE_CONNECTIONS tells the app its own. An app's pools,
    during a switch those of two releases, must fit in that."""
    shared_buffers: int | None = Field(default=None, ge=16)
    """MiB; half of the memory at most. None is an eighth of the memory, between 32 and 1024, or
    128 where an older onebox set that. A quarter is the usual advice for a server that does
    nothing else. Another value restarts PostgreSQL; one that it can't start with is undone."""
    temp_file_limit: int | None = Field(default=None, ge=64)
    """MiB of temporary files (sorts, hashes) that one session of an app may fill; None is a tenth
    of the disk, 1024 at least. Superusers, who restore dumps, have no limit."""


class DeployKey(Settings):
    """An SSH key, for CI say, that may release the named apps and read their state: no more."""

    key: PublicKey
    """The public key, as in "ssh-ed25519 AAAA... ci"."""
    apps: list[OneLine] = Field(min_length=1)
    """Names of the apps."""

    @property
    def fingerprint(self) -> str:
        """Return what names the key, as `ssh-keygen -l` does."""
        digest = sha256(b64decode(f"{self.key.split()[1]}==")).digest()
        return f"SHA256:{b64encode(digest).decode().rstrip('=')}"


class Email(Settings):
    """An account on a mail server of yours or your provider's."""

    to: list[MailAddress] = Field(min_length=1)
    """Who is told."""
    sender: MailAddress
    """Who it is from: an address that the mail server lets this account use."""
    server: Address
    """Its host name, as in "smtp.example.com"."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is kept private; the server must have a certificate that is trusted."""
    port: Annotated[int | None, AfterValidator(lambda v, i: v or _port(i))] = Field(
        default=None, ge=1, le=65_535
    )
    """None takes 587 for "starttls", 465 for "tls", 25 for "none"."""
    user: OneLine | None = None
    """None sends without a login."""
    password: SecretOfServer | None = None
    """The name of a secret: "SMTP_PASSWORD" is ONEBOX_SMTP_PASSWORD in secrets.env."""


class Notify(Settings):
    """How the server tells somebody what it found, and that it is over: in every way that is set.

    To try it, on the server: sudo onebox-watch test"""

    email: Email | None = None
    """E-mail."""
    webhook: WebAddress | None = None
    """An address that gets JSON; its `text` is what chat servers show. Or the name of the secret
    that it is: "WEBHOOK" is ONEBOX_WEBHOOK in secrets.env."""
    command: OneLine | None = None
    """A command on the server that gets the same JSON on its standard input, and no rights."""
    deploys: bool = False
    """Whether deploys and rollbacks that went well are told, too."""
    hourly: int = Field(default=12, ge=1, le=1000)
    """Messages an hour at most, and as many more with something urgent; what is found meanwhile is
    told later, in one."""


class Checks(Settings):
    """The server looks at itself, by a timer: docs/checks.md says at what."""

    every: int = Field(default=300, ge=5, le=3600)
    """Seconds between two rounds; most problems are told in the second that sees them."""
    ping: WebAddress | None = None
    """An address that is asked for after each round without an urgent problem, so that somebody
    else notices a dead server by its silence. Or the name of the secret that it is."""


class Updates(Settings):
    """Security updates install themselves every day. What already runs goes on with the old
    libraries until it is restarted."""

    restart: Schedule | None = "Sun 04:00"
    """The maintenance window, by the server's clock, as systemd's OnCalendar= has it: what runs on
    replaced libraries is restarted then, and never at another time, nor while a whole deploy runs
    or deploys are on hold; the deploy of one app is waited for, for 10 minutes. Apps go through the
    switch and nginx hands over, so that no request fails; PostgreSQL's restart breaks its
    connections for about a second. None: only the check says so."""


class VM(Settings):
    """A server, and what runs on it."""

    environment: EnvironmentName | None = None
    """What this server is, as in "production". The server remembers it, and refuses another;
    secrets are then looked for in secrets.production.env instead of secrets.env."""
    address: Address
    """IP address, host name, or a Host of your ssh_config."""
    public_address: Address | None = None
    """The address at which clients reach ports 80 and 443, where it isn't `address`: behind NAT or
    port forwarding, say. DNS, the ports and the certificates are checked against it."""
    ssh_user: OneLine = Field(default="root", min_length=1)
    """root, or a user who may use sudo without a password."""
    ssh_port: int | None = Field(default=None, ge=1, le=65_535)
    """None takes your ssh_config's, or 22."""
    ssh_key: ExistingFile | None = None
    """Private key; None tries your ssh_config's, your agent's and the usual files."""
    ssh_config: ExistingFile | None = None
    """An ssh_config to use instead of your own; None takes what ONEBOX_SSH_CONFIG says, if set."""
    authorized_keys: list[PublicKey] = Field(default_factory=list)
    """The keys that alone may log in as `ssh_user`; with none given, a deploy changes no key, and
    `fab drift` tells of keys that were added since the first one."""
    apps: list[App] = Field(min_length=1)
    """What runs here."""
    tls: TLS = TLS()
    """Certificates."""
    postgresql: PostgreSQL = PostgreSQL()
    """The database cluster."""
    take_over: list[Literal["nginx", "postgresql", "firewall"]] = Field(default_factory=list)
    """What somebody else has set up on the server, and onebox may set up its own way."""
    journal: int = Field(default=500, ge=50)
    """MiB that the journal may take on disk."""
    log_redact: list[ParameterName] = Field(
        default=[
            "token", "code", "password", "passwd", "pwd", "secret", "signature", "sig", "key",
            "auth", "credential", "session", "sid", "jwt", "otp", "ticket", "assertion",
            "SAMLResponse",
        ]
    )  # fmt: skip
    """Parameters of a query that nginx's access log leaves out, with all that follows them in the
    query: those whose name ends so, in any case, as in "access_token". The same goes for the
    address that a request came from (Referer)."""
    deploy_keys: Annotated[list[DeployKey], AfterValidator(lambda v, i: _for_known_apps(v, i))] = (
        Field(default_factory=list)
    )
    """SSH keys that can do little, to release with."""
    notify: Notify = Notify()
    """Who is told when something is wrong."""
    checks: Checks = Checks()
    """What is looked at, and how often."""
    updates: Updates = Updates()
    """When updates are put in use."""

    @property
    def connections(self) -> tuple[int, int]:
        """Return how many connections each app, and each app's migrations, may have at once."""
        share = (self.postgresql.max_connections - KEPT_FREE) // max(1, len(self.local_apps))
        migrations = max(1, min(MIGRATING, share // 4))
        return max(1, share - migrations), migrations

    @property
    def local_apps(self) -> list[App]:
        """Return the apps that have their database here."""
        return [app for app in self.apps if app.database == "local"]

    def chosen(self, name: str | None) -> list[App]:
        """Return the app of that name, or all; exit with code 4 where there is none."""
        if name and name not in (app.name for app in self.apps):
            names = ", ".join(app.name for app in self.apps)
            _refuse(f"{self.address} has no app {name}, but {names}. Nothing was changed.")
        return [app for app in self.apps if not name or app.name == name]


def servers(*vms: Mapping[str, Any], beside: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return pyinfra's hosts for the servers of an inventory; exit with code 4 on a mistake.

    `beside` is the inventory's `__file__`: paths are seen from its folder, and secrets.env is
    looked for there. The environment wins over that file.
    """
    root = Path(beside).resolve().parent if beside else Path.cwd()
    try:
        checked = [_check(vm, place, root) for vm, place in zip(vms, places(vms), strict=True)]
    except ValueError as error:
        _refuse(f"{error}\nNo server was contacted.")
    mistakes = [*(mistake for _, found in checked for mistake in found), *used_twice(vms)]
    if mistakes:
        _refuse(report(Path(beside).name or "the inventory", mistakes))
    if "pyinfra" in sys.modules:
        worded()
    found = [(vm, place) for (vm, _), place in zip(checked, places(vms), strict=True) if vm]
    name = Path(beside).name or "the inventory"
    return [
        (vm.address, {**_host_data(vm), "unedited": _unedited(name, [*placeholders(vm, place)])})
        for vm, place in found
    ]


def _unedited(name: str, mistakes: list[Mistake]) -> str:
    """Return what is said before a connection of an inventory that has still examples in it."""
    return report(name, mistakes) if mistakes else ""


def _check(vm: object, place: str, root: Path) -> tuple[VM | None, list[Mistake]]:
    file, secrets = secrets_of(vm, root)
    context = {"root": root, "secrets_file": file, "secrets": {**secrets, **os.environ}}
    try:
        return VM.model_validate(vm, context=context), []
    except ValidationError as error:
        return None, [from_pydantic(e, VM, place) for e in error.errors()]


def _for_known_apps(keys: list[DeployKey], info: ValidationInfo) -> list[DeployKey]:
    apps: dict[str, App] = {app.name: app for app in info.data.get("apps", [])}
    for name in (name for key in keys for name in key.apps if "apps" in info.data):
        if name not in apps:
            raise wrong("names of this server's apps", f"take {name} out", found=f'"{name}"')
        if apps[name].build:
            raise wrong(
                "apps with `build` off: a key could have code run while packages are installed",
                f"take {name} out, or its `build`",
                found=f'"{name}", which builds',
            )
    return keys


def _port(info: ValidationInfo) -> int:
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
        "_shell_executable": "nice -n 5 sh",  # requests first
    }


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(REFUSED)
