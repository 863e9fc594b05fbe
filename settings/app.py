"""The settings of an app: typed and frozen, each with its unit and default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from settings.mistakes import invalid
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
    """Gunicorn, which serves the app's requests."""

    workers: int | None = Field(default=None, ge=1, le=64)
    """Worker processes. None: CPU cores + 1, or fewer if memory can't hold two releases' workers
    at once."""
    worker_memory: int = Field(default=150, ge=32)
    """MiB of memory that one worker needs; used to choose `workers`."""
    timeout: Seconds = 30
    """Seconds of silence after which a worker is killed and restarted. A request may be silent for
    60 s, whatever this is: nginx then returns 504."""
    graceful_timeout: Seconds = 30
    """Seconds that a stopping worker has to finish its requests."""
    keepalive: Seconds = 5
    """Seconds that an idle connection from nginx stays open."""
    max_requests: int = Field(default=100_000, ge=0)
    """Requests after which a worker restarts, against slow memory leaks; 0 disables it."""
    max_requests_jitter: int = Field(default=10_000, ge=0)
    """Random extra requests per worker, so that workers do not all restart at once."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """Lowest level that Gunicorn logs to the journal."""


class Process(Settings):
    """A process beside web, such as a queue worker. It starts and stops with its release. During
    the watch after a switch, both releases' processes run, unless `alone` is set."""

    name: ProcessName
    """Suffix of the unit's name: NAME-PROCESS@.service."""
    command: OneLine
    """Command to run in the app's folder and environment, as in "python -m links.worker"."""
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT"] = "SIGTERM"
    """Signal that asks the process to finish its work and exit."""
    stop_timeout: Seconds = 60
    """Seconds that the process has to exit after `stop_signal`."""
    alone: bool = False
    """Never run two instances, as for a scheduler: a switch stops the old release's process before
    it starts the new one's, and a rollback stops the new one's first. In between, none runs."""


class Static(Settings):
    """A folder of files that nginx serves without asking the app."""

    path: UrlPath
    """URL path, as in "/static". Requests for files that are missing there go to the app."""
    folder: RelativeFolder
    """Folder relative to `source`. All its files are public."""
    max_age: int = Field(default=3600, ge=0)
    """Seconds that a browser may cache a file; use a year if names change with the content."""


class Sandbox(Settings):
    """What an app's processes may do beyond the minimum. Each setting lifts one restriction."""

    jit: bool = False
    """Allow memory that is writable and executable, for run-time compilers such as numba's. An
    attacker who can write to the app's memory could then run code from it."""
    netlink: bool = False
    """Allow netlink sockets, for libraries that list network interfaces. They show the server's
    addresses and routes, and expose more of the kernel."""
    proc: bool = False
    """Show all of /proc, for psutil and others that read memory, load and devices there. Other
    users' processes stay hidden."""
    link_local: bool = False
    """Allow link-local addresses (169.254.0.0/16, fe80::/10) and cloud metadata services, from
    which an attacker who controls the app could get the server's cloud credentials. DNS always
    works."""
    listen: bool = False
    """Allow listening on TCP and UDP ports, which the firewall closes to the outside. Not needed
    for nginx, which uses a Unix socket, nor for the ports that the kernel assigns to clients."""
    priorities: bool = False
    """Allow changing the priority, CPU affinity and resource limits of the app's processes, for
    numerical libraries that pin threads to cores. The app could slow the server's other
    processes."""


class Resources(Settings):
    """Limits on an app's processes together: both releases during a switch, timers, hooks,
    migrations and `fab run`. All but `tmp` and `shm` apply to running processes at once."""

    memory: int | None = Field(default=None, ge=64)
    """MiB of memory, including files in /tmp and /dev/shm. Above it, the kernel kills a process of
    this app. None: the server's memory, less 350 MiB for the system and PostgreSQL, and less what
    the other apps' workers need."""
    tasks: int = Field(default=2048, ge=64)
    """Maximum number of processes and threads; 128 per worker are always allowed."""
    cpu_weight: int = Field(default=100, ge=1, le=10_000)
    """Share of the CPU relative to the server's other apps, while they compete for it."""
    io_weight: int = Field(default=100, ge=1, le=10_000)
    """Share of the disk's bandwidth relative to the server's other apps."""
    tmp: int | None = Field(default=None, ge=8)
    """MiB in /tmp, which is in memory. None: 10 % of the server's memory. Large temporary files
    belong in /var/tmp, on disk, which TMPDIR names."""
    shm: int | None = Field(default=None, ge=8)
    """MiB of shared memory (/dev/shm). None: 25 % of the server's memory."""


class Timer(Settings):
    """A command that runs on a schedule in the live release, one run at a time."""

    name: ProcessName
    """Suffix of the units' names: onebox-timer-NAME-TIMER.timer and .service start it; it runs in
    NAME-TIMER@RELEASE.service, whose journal has its output."""
    command: OneLine
    """Command to run in the app's folder, environment and sandbox."""
    schedule: Schedule
    """When to run, as systemd's OnCalendar=: "daily", "Mon..Fri 07:30". If runs were missed while
    the server was off, the command runs once at boot."""
    timeout: Seconds = 3600
    """Seconds after which a run is stopped and counts as failed."""


class Limits(Settings):
    """Rate limits of one client: an IPv4 address or an IPv6 /64 network. nginx answers requests
    above them with 429. Requests from the server itself are not limited."""

    requests: int = Field(default=500, ge=1, le=100_000)
    """Requests per second, on average."""
    burst: int = Field(default=1000, ge=1, le=100_000)
    """Requests above that rate that are accepted at once."""
    connections: int = Field(default=1000, ge=1, le=100_000)
    """Concurrent requests. A WebSocket counts as one while it is open."""


class Hooks(Settings):
    """Commands that run around a deploy: `before` in the sandbox of the new release, the others in
    that of the release that is live then.

    ONEBOX_HOOK_RELEASE, _BEFORE, _WHO, _RESULT and _WHY describe the event. A hook that fails or
    times out is reported, and does not affect the deploy."""

    before: OneLine | None = None
    """Before the migration, in the new release."""
    after: OneLine | None = None
    """After a new release is live and has passed its watch."""
    failed: OneLine | None = None
    """After a failed deploy or rollback."""
    rolled_back: OneLine | None = None
    """After a new release failed during its watch and was rolled back automatically."""
    rollback: OneLine | None = None
    """After a requested rollback to an earlier release."""
    timeout: Seconds = 60
    """Seconds that each hook has; the deploy waits for it."""

    @property
    def commands(self) -> dict[str, str]:
        """Return the commands by event."""
        return self.model_dump(exclude={"timeout"}, exclude_none=True)


class App(Settings):
    """A FastAPI (or other ASGI) app."""

    name: Name
    """Name of the app's user, database, units and folders."""
    source: Project
    """Folder relative to the inventory's, or a git URL in pip's notation, as in
    "git+https://example.com/links.git@main". It holds the code, and uv.lock with pyproject.toml or
    a pinned requirements.txt."""
    module: Module
    """What Gunicorn imports: an app, as in "links.main:app", or a call that returns one, as in
    "links.main:create_app()". It is in `source`, in its src/, or in an installed package."""
    domains: list[Domain] = Field(min_length=1)
    """Domain names of the app; the first is the main one."""
    health: UrlPath = "/health/ready"
    """Path that returns 200 when the app can serve. Set "/" if the app has none. Requests have the
    first domain as Host. A steady 4xx status for 5 s fails the deploy (408, 421, 423, 425 and 429
    excepted)."""
    migrate: OneLine | None = None
    """Command that migrates the database, as in "alembic upgrade head". Every deploy of a new
    release runs it, so it must do nothing when no migration is pending."""
    env: dict[Variable, OneLine] = Field(default_factory=dict)
    """Environment variables that are not secret."""
    secrets: list[SecretByName] = Field(default_factory=list)
    """Names of secret environment variables. The value of STRIPE_KEY of the app links is
    LINKS_STRIPE_KEY in secrets.env."""
    database: Annotated[
        Literal["local", "external", "none"],
        AfterValidator(lambda v, i: _requires_database_url(v, i)),
    ] = "local"
    """"local" creates a database on the server; "external" uses the secret DATABASE_URL; each
    release keeps the value with which it was deployed."""
    database_env: dict[Variable, OneLine] = Field(
        default={"DATABASE_URL": "postgresql://{role}@/{name}?host=/run/postgresql"}
    )
    """Environment variables that name the local database; {role} is the app's role, or the
    schema owner's in migrations. SQLAlchemy needs its driver, as in
    "postgresql+psycopg://{role}@/..."."""
    web: Web = Web()
    """Gunicorn's settings."""
    processes: Annotated[list[Process], AfterValidator(lambda v: _unique_processes(v))] = Field(
        default_factory=list
    )
    """Processes beside web, such as queue workers."""
    static: Annotated[list[Static], AfterValidator(lambda v, i: _existing_folders(v, i))] = Field(
        default_factory=list
    )
    """Folders of files that nginx serves."""
    sandbox: Sandbox = Sandbox()
    """What the app's processes may do beyond the minimum."""
    resources: Resources = Resources()
    """Limits on the app's use of the server."""
    packages: list[DebianPackage] = Field(default_factory=list)
    """Debian packages that the app needs at run time or to build, as in "libmagic1". onebox never
    removes them."""
    timers: Annotated[list[Timer], AfterValidator(lambda v, i: _unique_timers(v, i))] = Field(
        default_factory=list
    )
    """Commands that run on a schedule."""
    hooks: Hooks = Hooks()
    """Commands that run around a deploy."""
    max_body: int = Field(default=10, ge=1)
    """MiB that a request's body or a WebSocket message may have."""
    limits: Limits | None = Limits()
    """Rate limits of one client. None: no limits, for an app behind a CDN or another proxy, whose
    addresses all clients share; the app then also gets headers such as CF-Connecting-IP."""
    allow_http: bool = False
    """Serve the app over plain HTTP while it has no certificate. Otherwise nginx answers 503 with
    the reason."""
    start_timeout: Seconds = 60
    """Seconds in which a new release must become ready. A release that keeps using the CPU without
    having answered gets up to five times as long."""
    settle: int = Field(default=2, ge=0, le=600)
    """Seconds that a new release must stay ready before the switch."""
    watch: int = Field(default=60, ge=0, le=3600)
    """Seconds after the switch in which the old release keeps running, for an automatic rollback. A
    first release is watched for 10 s or twice its start time, whichever is longer, and at most as
    long as this."""
    drain: Seconds = 30
    """Seconds that the old release has to finish its requests."""
    keep_releases: int = Field(default=5, ge=2)
    """Releases kept on the server, for rollbacks."""
    build: bool = False
    """Allow building source distributions and git dependencies. That runs their code before the
    release starts, as a user that can read nothing of the server but its programs. Compilers come
    from `packages`, as in "build-essential", "python3-dev"."""
    install_secrets: list[SecretByName] = Field(default_factory=list)
    """Names of secrets that only uv gets, as environment variables while it installs packages:
    UV_INDEX_CORP_USERNAME and UV_INDEX_CORP_PASSWORD for an index named corp. They are sent with
    each release and not stored on the server."""
    git_key: ExistingFile | None = None
    """Private SSH key for git dependencies, without a passphrase; sent with each release and not
    stored on the server."""
    git_known_hosts: Annotated[
        ExistingFile | None, AfterValidator(lambda v, i: _required_with_git_key(v, i))
    ] = None
    """known_hosts file with the host keys of the git servers."""
    migrations_compatible: bool = False
    """Whether the previous release can run on the schema that each migration leaves. For migrations
    that onebox can't read: another tool than Alembic, an external database, or a `migrate` that
    does more than `alembic upgrade head`."""
    lock_timeout: Seconds = 5
    """Seconds that a migration waits for a lock; requests queue behind it meanwhile."""
    statement_timeout: Seconds = 600
    """Seconds that one statement of a migration may take."""
    migrate_timeout: Seconds = 1800
    """Seconds that `migrate` may take, and a database dump before it. After that it is stopped and
    the deploy fails."""

    @property
    def migrator(self) -> str:
        """Return the user and role that own the schema, so that the app can't drop its tables."""
        return f"{self.name}-migrate"

    @property
    def builder(self) -> str:
        """Return the user that installs packages, in a unit isolated from the server."""
        return f"{self.name}-build"

    @property
    def slice(self) -> str:
        """Return the slice that limits all its processes. A dash would nest it in another app's."""
        return f"onebox-{self.name.replace('-', '_')}.slice"

    @property
    def credentials(self) -> str:
        """Return the credentials for installing packages, as JSON; empty if there are none."""
        secrets = {secret.name: secret.value.get_secret_value() for secret in self.install_secrets}
        key = self.git_key.read_text() if self.git_key else ""
        return json.dumps({"environment": secrets, "key": key}) if secrets or key else ""


def _requires_database_url(value: str, info: ValidationInfo) -> str:
    names = [secret.name for secret in info.data.get("secrets", [])]
    if value == "external" and "secrets" in info.data and "DATABASE_URL" not in names:
        raise invalid(
            "DATABASE_URL among the app's secrets",
            'add "DATABASE_URL" to `secrets`, or write "local" for a database on the server',
            found=", ".join(names) or "no secrets",
        )
    return value


def _unique_processes(processes: list[Process]) -> list[Process]:
    names = [process.name for process in processes]
    if len(set(names)) < len(names):
        raise invalid(
            "a unique name for each process", "rename one of them", found=", ".join(names)
        )
    return processes


def _required_with_git_key(value: Path | None, info: ValidationInfo) -> Path | None:
    if info.data.get("git_key") and not value:
        raise invalid(
            "a known_hosts file with the git server's host keys",
            "run `ssh-keyscan HOST > known_hosts`, and compare what `ssh-keygen -lf known_hosts`"
            " prints with the fingerprints that the host publishes",
        )
    return value


def _existing_folders(folders: list[Static], info: ValidationInfo) -> list[Static]:
    paths = [static.path.strip("/") for static in folders]
    if "" in paths or len(set(paths)) < len(paths) or any(".." in p.split("/") for p in paths):
        found = ", ".join(static.path for static in folders)
        raise invalid('a unique path for each folder, other than "/"', "change one", found=found)
    for static in folders:
        folder = info.data["source"] / static.folder if "source" in info.data else None
        if folder and not folder.is_dir():
            raise invalid("a folder in `source`", "correct `folder`", found=str(folder))
    return folders


def _unique_timers(timers: list[Timer], info: ValidationInfo) -> list[Timer]:
    names = [timer.name for timer in timers]
    processes = [process.name for process in info.data.get("processes", [])]
    if duplicates := [name for i, name in enumerate(names) if name in [*processes, *names[:i]]]:
        raise invalid(
            "a unique name for each timer and process", "rename one of them",
            found=", ".join(duplicates),
        )  # fmt: skip
    return timers
