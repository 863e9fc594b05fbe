"""Every knob of an app: typed, frozen, with its unit and its default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from settings.mistakes import wrong
from settings.model import Settings
from settings.source import Module, Project
from settings.values import (
    DebianPackage,
    Domain,
    ExistingFile,
    Name,
    OneLine,
    ProcessName,
    RelativeFolder,
    Schedule,
    Seconds,
    SecretByName,
    UrlPath,
    Variable,
)


class Web(Settings):
    """Gunicorn."""

    workers: int | None = Field(default=None, ge=1, le=64)
    """None takes the smaller of cores + 1 and what memory allows two releases at once."""
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
    """A process beside web: a queue worker, say. It starts and stops with its release. During the
    watch after a switch the old release's runs beside the new one's, unless it is `alone`."""

    name: ProcessName
    """Its unit is called so, behind the app's name."""
    command: OneLine
    """What it runs, in the app's folder and environment, as in "python -m links.worker"."""
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT"] = "SIGTERM"
    """Asks it to finish what it is at."""
    stop_timeout: Seconds = 60
    """Seconds that it is given to finish."""
    alone: bool = False
    """Whether it must never run twice, as a scheduler: the old release's is stopped before the new
    one's starts, and a rollback does the reverse. In between none runs."""


class Static(Settings):
    """A folder of files that nginx serves itself, without asking the app."""

    path: UrlPath
    """Where it is served, as in "/static". What is not there, the app is asked for."""
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
    link_local: bool = False
    """Link-local addresses (169.254.0.0/16, fe80::/10) and cloud metadata services, from which
    whoever controls the app could fetch the server's credentials at its cloud. DNS is open."""
    listen: bool = False
    """Ports of its own, TCP and UDP, which the firewall closes to the outside. nginx needs none:
    it comes over a Unix socket. Ports that a client is given by the kernel are not meant."""
    priorities: bool = False
    """Setting priority, CPU affinity and resource limits of its own processes: numerical
    libraries that pin threads to cores. It could crowd out the server's other processes."""


class Resources(Settings):
    """What all processes of an app may take together, those of two releases during a switch, its
    timers, hooks, migrations and `fab run` included. All but `tmp` and `shm` apply to what runs."""

    memory: int | None = Field(default=None, ge=64)
    """MiB of memory, files in /tmp and /dev/shm counted. Above it, the kernel ends a process of
    this app. None takes what the server has, less 350 MiB for the system and PostgreSQL, and less
    what the other apps' workers need."""
    tasks: int = Field(default=2048, ge=64)
    """Processes and threads."""
    cpu_weight: int = Field(default=100, ge=1, le=10_000)
    """Share of the CPU beside the server's other apps, while there is not enough for all."""
    io_weight: int = Field(default=100, ge=1, le=10_000)
    """Share of the disk likewise."""
    tmp: int | None = Field(default=None, ge=8)
    """MiB in /tmp, which is memory; None takes 10 % of the server's. Large temporary files go to
    /var/tmp, where TMPDIR points: that is on the disk."""
    shm: int | None = Field(default=None, ge=8)
    """MiB of shared memory (/dev/shm); None takes 25 % of the server's memory."""


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


class Limits(Settings):
    """What one client (an IPv4 address, or an IPv6 network of 64 bits) may ask of an app. nginx
    answers what is more with 429. The server itself is not limited."""

    requests: int = Field(default=500, ge=1, le=100_000)
    """Requests a second, in the long run."""
    burst: int = Field(default=1000, ge=1, le=100_000)
    """Requests beyond that in one go."""
    connections: int = Field(default=1000, ge=1, le=100_000)
    """Requests under way at the same time. A WebSocket is one for as long as it is open."""


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
    rolled_back: OneLine | None = None
    """After an automatic rollback."""
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
    """Path that answers 200 when the app can serve; "/" where there is no better one. It is asked
    with the first domain as Host. The same answer from 400 to 499 for 5 s fails the deploy."""
    migrate: OneLine | None = None
    """Command that brings the database up to date, as in "alembic upgrade head". Every deploy of
    a new release runs it, so it must do nothing where nothing is pending."""
    env: dict[Variable, OneLine] = Field(default_factory=dict)
    """Environment that is not secret."""
    secrets: list[SecretByName] = Field(default_factory=list)
    """Names of secrets. STRIPE_KEY of the app links is LINKS_STRIPE_KEY in secrets.env."""
    database: Annotated[
        Literal["local", "external", "none"], AfterValidator(lambda v, i: _database(v, i))
    ] = "local"
    """"local" makes one on the server; "external" is the secret DATABASE_URL, which each release
    keeps as it was deployed with."""
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
    resources: Resources = Resources()
    """What its processes may take of the server."""
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
    """MiB that a request's body, or a WebSocket's message, may have."""
    limits: Limits | None = Limits()
    """What one client may ask; None sets no limit, for an app behind a CDN or another proxy, whose
    addresses all clients share; the app then gets headers such as CF-Connecting-IP, too."""
    allow_http: bool = False
    """Whether the app is served over plain HTTP for as long as it has no certificate. Otherwise
    nginx answers 503 then, and says why."""
    start_timeout: Seconds = 60
    """Seconds in which a new release must be ready. One that goes on using the CPU, and has not
    answered yet, is given up to five times as long."""
    settle: int = Field(default=2, ge=0, le=600)
    """Seconds that a new release must go on being ready before it is switched to."""
    watch: int = Field(default=60, ge=0, le=3600)
    """Seconds after the switch in which the old release is kept warm, to be put back. A first
    release is watched for 10 s, or twice what it took to start, if that is less."""
    drain: Seconds = 30
    """Seconds that the old release is given to finish its requests."""
    keep_releases: int = Field(default=5, ge=2)
    """Releases kept on the server, to go back to."""
    build: bool = False
    """Whether source distributions and git dependencies may be built; that runs their code, as a
    user that sees nothing of the server's but its programs, before the release is started.
    Compilers come by `packages`, as in "build-essential", "python3-dev"."""
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
    """For migrations that onebox can't read (another tool than Alembic, an external database, a
    `migrate` that does more than `alembic upgrade head`): whether the previous release can run on
    what each of them leaves."""
    lock_timeout: Seconds = 5
    """Seconds that a migration waits for a lock; while it waits, requests wait behind it."""
    statement_timeout: Seconds = 600
    """Seconds that one statement of a migration may take."""
    migrate_timeout: Seconds = 1800
    """Seconds that `migrate` may take, and a dump of the database before it; it is stopped then,
    and the deploy fails."""

    @property
    def migrator(self) -> str:
        """Return the user and role that own the schema: the app can't drop its own tables."""
        return f"{self.name}-migrate"

    @property
    def builder(self) -> str:
        """Return the user who installs packages, in a unit that sees nothing of the server."""
        return f"{self.name}-build"

    @property
    def slice(self) -> str:
        """Return the unit that bounds all its processes. A dash would nest it in another app's."""
        return f"onebox-{self.name.replace('-', '_')}.slice"

    @property
    def credentials(self) -> str:
        """Return what only the installation of packages gets, as JSON; nothing where that is
        nothing."""
        secrets = {secret.name: secret.value.get_secret_value() for secret in self.install_secrets}
        key = self.git_key.read_text() if self.git_key else ""
        return json.dumps({"environment": secrets, "key": key}) if secrets or key else ""


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


def _known(value: Path | None, info: ValidationInfo) -> Path | None:
    if info.data.get("git_key") and not value:
        raise wrong(
            "a file with the keys of the git server",
            "run `ssh-keyscan` with its name, and compare the keys with those that it publishes",
        )
    return value


def _served(folders: list[Static], info: ValidationInfo) -> list[Static]:
    paths = [static.path.strip("/") for static in folders]
    if "" in paths or len(set(paths)) < len(paths) or any(".." in p.split("/") for p in paths):
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
