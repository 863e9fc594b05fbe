"""Every knob of a deploy: typed, frozen, with its unit and its default.

`servers()` checks a whole inventory before the first connection and tells every mistake at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from operations.transport import no_delay
from validation.environments import secrets_of
from validation.mistakes import Mistake, from_pydantic, report, wrong
from validation.source import Module, Project
from validation.twice import places, used_twice
from validation.values import (
    AcmeDirectory,
    Address,
    DebianPackage,
    Domain,
    EnvironmentName,
    ExistingFile,
    MailAddress,
    Name,
    OneLine,
    ProcessName,
    PublicKey,
    RelativeFolder,
    Schedule,
    Seconds,
    SecretByName,
    SecretOfServer,
    UrlPath,
    Variable,
    WebAddress,
)

REFUSED = 4  # exit code of a run that stopped before it touched a server


class Settings(BaseModel):
    """A group of settings: immutable, and an unknown key is a mistake."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    def to_json(self) -> Any:
        """Return what pyinfra's debug commands may print: secrets are masked."""
        return self.model_dump(mode="json")


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
    """All workers' pools together, during a switch those of two releases, must fit in."""
    shared_buffers: int = Field(default=128, ge=16)
    """MiB. A quarter of the memory is the usual advice for a server that does nothing else."""


class Web(Settings):
    """Gunicorn."""

    workers: int | None = Field(default=None, ge=1, le=64)
    """None takes the smaller of 2 x cores + 1 and what memory allows two releases at once."""
    worker_memory: int = Field(default=150, ge=32)
    """MiB that one worker needs; it serves to choose `workers`."""
    timeout: Seconds = 30
    """Seconds of silence after which a worker is replaced."""
    graceful_timeout: Seconds = 30
    """Seconds that a stopping worker gives its requests."""
    keepalive: Seconds = 5
    """Seconds that an idle connection is kept."""
    max_requests: int = Field(default=100_000, ge=0)
    """Requests after which a worker is replaced, against slow leaks; 0 means never."""
    max_requests_jitter: int = Field(default=10_000, ge=0)
    """Up to so many requests more, so that workers are not all replaced at once."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """What Gunicorn writes to the journal."""


class Process(Settings):
    """A process beside web: a queue worker, say. It starts and stops with its release."""

    name: ProcessName
    """Its unit is called so, behind the app's name."""
    command: OneLine
    """What it runs, in the app's folder and environment, as in "python -m links.worker"."""
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT"] = "SIGTERM"
    """Asks it to finish what it is at."""
    stop_timeout: Seconds = 60
    """Seconds that it is given to finish."""


class Static(Settings):
    """A folder of files that nginx serves itself, without asking the app."""

    path: UrlPath
    """Where it is served, as in "/static"."""
    folder: RelativeFolder
    """The folder, seen from `source`. Everybody may read it."""
    max_age: int = Field(default=3600, ge=0)
    """Seconds that a browser may keep a file. A year, where names change with the content."""


class Sandbox(Settings):
    """What an app's processes may do beyond the least. Each setting opens one thing."""

    jit: bool = False
    """Memory that can be written and executed: compilers at run time, as numba's. Whoever can
    write to the app's memory could then run what they wrote."""
    netlink: bool = False
    """Netlink sockets: libraries that list network interfaces. They show the server's addresses
    and routes, and reach more of the kernel."""
    proc: bool = False
    """All of /proc beside processes: psutil and others that read memory, load and devices there.
    Other users' processes stay invisible."""
    priorities: bool = False
    """Setting priority, CPU affinity and resource limits of its own processes: numerical
    libraries that pin threads to cores. It could crowd out the server's other processes."""


class Timer(Settings):
    """A job that an app does at certain times, one run at a time, in its live release."""

    name: ProcessName
    """Its units are called so, behind the app's name."""
    command: OneLine
    """What it runs, in the app's folder, environment and sandbox."""
    schedule: Schedule
    """When, as systemd's OnCalendar= has it: "daily", "Mon..Fri 07:30". A time that was missed,
    because the server was off, is made up for once."""
    timeout: Seconds = 3600
    """Seconds after which it is stopped and counts as failed."""


class Hooks(Settings):
    """Commands around a deploy, run in the sandbox of the release that serves then.

    What happened is in ONEBOX_HOOK_RELEASE, _BEFORE, _WHO, _RESULT and _WHY. A hook that fails or
    takes too long is told, and changes nothing."""

    before: OneLine | None = None
    """Before the migration, in the new release."""
    after: OneLine | None = None
    """When a new release is live and has held."""
    failed: OneLine | None = None
    """When a deploy or rollback came to nothing."""
    put_back: OneLine | None = None
    """When a release went live, went bad, and was put back."""
    rollback: OneLine | None = None
    """When an earlier release is live again because somebody asked for it."""
    timeout: Seconds = 60
    """Seconds that each is given; the deploy waits so long."""

    @property
    def commands(self) -> dict[str, str]:
        """Return the commands by event."""
        return self.model_dump(exclude={"timeout"}, exclude_none=True)


class App(Settings):
    """One FastAPI (or other ASGI) app."""

    name: Name
    """Its user, database, units and folders are called so."""
    source: Project
    """Its folder, seen from the inventory's, or "git+https://example.com/links.git@main", as pip
    writes it. It has the code, and uv.lock with pyproject.toml or a pinned requirements.txt."""
    module: Module
    """What Gunicorn imports from there, from src/ in it, or from an installed package, as in
    "links.main:app"; or the call that makes the app, as in "links.main:create_app()"."""
    domains: list[Domain] = Field(min_length=1)
    """Names that it answers to; the first is its main one."""
    health: UrlPath = "/health/ready"
    """Path that answers 200 when the app can serve; "/" where there is no better one."""
    migrate: OneLine | None = None
    """Command that brings the database up to date, as in "alembic upgrade head"."""
    env: dict[Variable, OneLine] = Field(default_factory=dict)
    """Environment that is not secret."""
    secrets: list[SecretByName] = Field(default_factory=list)
    """Names of secrets. STRIPE_KEY of the app links is LINKS_STRIPE_KEY in secrets.env."""
    database: Annotated[
        Literal["local", "external", "none"], AfterValidator(lambda v, i: _database(v, i))
    ] = "local"
    """"local" makes one on the server; "external" is the secret DATABASE_URL."""
    database_env: dict[Variable, OneLine] = Field(
        default={"DATABASE_URL": "postgresql://{role}@/{name}?host=/run/postgresql"}
    )
    """How the app is told of its local database; {role} is the app's, or in migrations the
    schema owner's. For a driver of SQLAlchemy: "postgresql+psycopg://{role}@/...", say."""
    web: Web = Web()
    """Gunicorn's settings."""
    processes: Annotated[list[Process], AfterValidator(lambda v: _apart(v))] = Field(
        default_factory=list
    )
    """What runs beside web."""
    static: Annotated[list[Static], AfterValidator(lambda v, i: _served(v, i))] = Field(
        default_factory=list
    )
    """Folders that nginx serves."""
    sandbox: Sandbox = Sandbox()
    """What its processes may do beyond the least."""
    packages: list[DebianPackage] = Field(default_factory=list)
    """Debian packages that it needs to run, or to be installed, as in "libmagic1". They stay:
    the next change of a lock file needs those for building again."""
    timers: Annotated[list[Timer], AfterValidator(lambda v, i: _timers(v, i))] = Field(
        default_factory=list
    )
    """What runs at certain times."""
    hooks: Hooks = Hooks()
    """What runs before and after a deploy."""
    max_body: int = Field(default=10, ge=1)
    """MiB that a request's body may have."""
    start_timeout: Seconds = 60
    """Seconds in which a new release must be ready."""
    settle: int = Field(default=2, ge=0, le=600)
    """Seconds that a new release must go on being ready before it is switched to."""
    watch: int = Field(default=60, ge=0, le=3600)
    """Seconds after the switch in which the old release is kept warm, to be put back."""
    drain: Seconds = 30
    """Seconds that the old release is given to finish its requests."""
    keep_releases: int = Field(default=5, ge=2)
    """Releases kept on the server, to go back to."""
    build: bool = False
    """Whether source distributions and git dependencies may be built; that runs their code as
    root. Compilers come by `packages`, as in "build-essential", "python3-dev"."""
    install_secrets: list[SecretByName] = Field(default_factory=list)
    """Names of secrets that uv alone gets, as its environment, while it installs packages:
    UV_INDEX_CORP_USERNAME and UV_INDEX_CORP_PASSWORD for an index named corp. They are sent with
    each release and kept nowhere on the server."""
    git_key: ExistingFile | None = None
    """Private key for git dependencies over SSH, without a passphrase; sent and kept likewise."""
    git_known_hosts: Annotated[ExistingFile | None, AfterValidator(lambda v, i: _known(v, i))] = (
        None
    )
    """known_hosts with the keys of the servers that git asks."""
    migrations_compatible: bool = False
    """For tools other than Alembic and for external databases, where nobody can look: whether
    the release before can run on what a migration leaves."""
    lock_timeout: Seconds = 5
    """Seconds that a migration waits for a lock; while it waits, requests wait behind it."""
    statement_timeout: Seconds = 600
    """Seconds that one statement of a migration may take."""

    @property
    def migrator(self) -> str:
        """Return the user and role that own the schema: the app can't drop its own tables."""
        return f"{self.name}-migrate"

    @property
    def credentials(self) -> str:
        """Return what only the installation of packages gets, as JSON; nothing where that is
        nothing."""
        secrets = {secret.name: secret.value.get_secret_value() for secret in self.install_secrets}
        key = self.git_key.read_text() if self.git_key else ""
        return json.dumps({"environment": secrets, "key": key}) if secrets or key else ""


class DeployKey(Settings):
    """An SSH key, for CI say, that may release the named apps and read their state: no more."""

    key: PublicKey
    """The public key, as in "ssh-ed25519 AAAA... ci"."""
    apps: list[OneLine] = Field(min_length=1)
    """Names of the apps."""


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
    """Messages an hour at most; what is found meanwhile is told later, in one."""


class Checks(Settings):
    """The server looks at itself, by a timer: docs/checks.md says at what."""

    every: int = Field(default=300, ge=5, le=3600)
    """Seconds between two rounds; most problems are told in the second that sees them."""
    ping: WebAddress | None = None
    """An address that is asked for after each round without an urgent problem, so that somebody
    else notices a dead server by its silence. Or the name of the secret that it is."""


class VM(Settings):
    """A server, and what runs on it."""

    environment: EnvironmentName | None = None
    """What this server is, as in "production". The server remembers it, and refuses another;
    secrets are then looked for in secrets.production.env instead of secrets.env."""
    address: Address
    """IP address, host name, or a Host of your ssh_config."""
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
    deploy_keys: Annotated[list[DeployKey], AfterValidator(lambda v, i: _for_known_apps(v, i))] = (
        Field(default_factory=list)
    )
    """SSH keys that can do little, to release with."""
    notify: Notify = Notify()
    """Who is told when something is wrong."""
    checks: Checks = Checks()
    """What is looked at, and how often."""

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
    return [(vm.address, _host_data(vm)) for vm, _ in checked if vm]


def _check(vm: object, place: str, root: Path) -> tuple[VM | None, list[Mistake]]:
    file, secrets = secrets_of(vm, root)
    context = {"root": root, "secrets_file": file, "secrets": {**secrets, **os.environ}}
    try:
        return VM.model_validate(vm, context=context), []
    except ValidationError as error:
        return None, [from_pydantic(e, VM, place) for e in error.errors()]


def _database(value: str, info: ValidationInfo) -> str:
    names = [secret.name for secret in info.data.get("secrets", [])]
    if value == "external" and "secrets" in info.data and "DATABASE_URL" not in names:
        raise wrong(
            "DATABASE_URL among the app's secrets",
            'add "DATABASE_URL" to `secrets`, or write "local" for a database on the server',
            found=", ".join(names) or "no secrets",
        )
    return value


def _apart(processes: list[Process]) -> list[Process]:
    names = [process.name for process in processes]
    if len(set(names)) < len(names):
        raise wrong(
            "a name of its own for each process", "rename one of them", found=", ".join(names)
        )
    return processes


def _for_known_apps(keys: list[DeployKey], info: ValidationInfo) -> list[DeployKey]:
    apps: dict[str, App] = {app.name: app for app in info.data.get("apps", [])}
    for name in (name for key in keys for name in key.apps if "apps" in info.data):
        if name not in apps:
            raise wrong("names of this server's apps", f"take {name} out", found=f'"{name}"')
        if apps[name].build:
            raise wrong(
                "apps with `build` off: building runs a release's code as root",
                f"take {name} out, or its `build`",
                found=f'"{name}", which builds',
            )
    return keys


def _known(value: Path | None, info: ValidationInfo) -> Path | None:
    if info.data.get("git_key") and not value:
        raise wrong(
            "a file with the keys of the git server",
            "run `ssh-keyscan` with its name, and compare the keys with those that it publishes",
        )
    return value


def _served(folders: list[Static], info: ValidationInfo) -> list[Static]:
    paths = [static.path.strip("/") for static in folders]
    if "" in paths or len(set(paths)) < len(paths):
        told = ", ".join(static.path for static in folders)
        raise wrong('a path of its own for each folder, other than "/"', "change one", found=told)
    for static in folders:
        folder = info.data["source"] / static.folder if "source" in info.data else None
        if folder and not folder.is_dir():
            raise wrong("a folder in `source`", "correct `folder`", found=str(folder))
    return folders


def _timers(timers: list[Timer], info: ValidationInfo) -> list[Timer]:
    names = [timer.name for timer in timers]
    taken = [process.name for process in info.data.get("processes", [])]
    if twice := [name for i, name in enumerate(names) if name in [*taken, *names[:i]]]:
        raise wrong(
            "a name of its own for each timer and process", "rename one of them",
            found=", ".join(twice),
        )  # fmt: skip
    return timers


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
    }


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(REFUSED)
