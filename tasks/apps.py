"""Users, folders, configuration and units of the apps."""

import secrets
from pathlib import PurePath

from onebox_release.parameters import Parameters
from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, systemd, users
from operations.files import File, Folder
from operations.machine import Machine, machine
from operations.templates import target, template
from settings import VM
from settings.app import App, Web

UNITS = "etc/systemd/system"
MIGRATION = f"{UNITS}/NAME-migrate@.service"
HOOK = f"{UNITS}/NAME-hook@.service"
# MiB for the system, PostgreSQL and nginx.
RESERVED = 350
DATABASE = "DATABASE_URL"
MAX_WORKERS = 64  # the setting's maximum, too


@deploy("Apps")
def apps() -> None:
    """Install what releases need, for one app after the other."""
    vm: VM = host.data.vm
    for app in host.loop(vm.chosen(host.data.get("app"))):
        _app(vm, app)


def _app(vm: VM, app: App) -> None:
    sysusers = template("etc/sysusers.d/NAME.conf", app=app)
    files.install(
        name=f"Install the sysusers.d file of {app.name}",
        entries=[Folder("/etc/sysusers.d"), sysusers],
    )
    names = [app.name, app.migrator, app.builder]
    users.create(name=f"Create the users of {app.name}", users=names)
    files.install(
        name=f"Install the folders, configuration and units of {app.name}",
        entries=[
            *_folders(app),
            *_configuration(vm, app, machine(host)),
            *_units(app),
        ],
        absent=_absent(app),
    )
    files.create_once(
        name=f"Generate the secret key of {app.name}",
        path=f"/etc/{app.name}/generated.env",
        content=lambda: f"SECRET_KEY={secrets.token_urlsafe(48)}\n",
    )
    systemd.activate(name=f"Start {app.name} at boot", unit=f"{app.name}.service")


def _absent(app: App) -> list[str]:
    units = [f"/{target(unit, app=app)}" for unit, used in _optional(app).items() if not used]
    units.append(f"/var/lib/onebox/{app.name}/jobs")  # a link of an older onebox's conversion
    return units + ([] if app.git_known_hosts else [f"/etc/{app.name}/known_hosts"])


def workers(web: Web, machine: Machine, memory: int | None = None) -> int:
    """Return the number of workers: the setting, or what cores and memory allow.

    `memory` is the app's limit in MiB, if set. One more than cores: more workers served fewer
    requests per second of CPU (bench/results/serving/workers-1.png and workers-2.png); Gunicorn
    recommends 2 x cores + 1 (https://gunicorn.org/design/#how-many-workers) for workers that wait
    while they serve. Half of the memory: two releases run during a switch.
    """
    affordable = (memory or machine.memory - RESERVED) // 2 // web.worker_memory
    return web.workers or max(1, min(machine.cores + 1, affordable, MAX_WORKERS))


def workers_of(app: App, machine: Machine) -> int:
    """Return an app's number of workers, within its memory limit."""
    return workers(app.web, machine, app.resources.memory)


def _folders(app: App) -> list[Folder]:
    return [
        Folder(f"/srv/{app.name}"),
        Folder(f"/srv/{app.name}/releases"),
        Folder(f"/srv/{app.name}/venvs"),
        Folder(f"/etc/{app.name}", mode="700", allowed=("generated.env", "releases")),
        Folder(f"/etc/{app.name}/releases", mode="700"),
        Folder(f"/var/lib/{app.name}", mode="700", owner=f"{app.name}:{app.name}"),
        Folder(f"/var/lib/onebox/{app.name}", mode="700"),
        Folder(f"/var/lib/onebox/{app.name}/incoming", mode="700"),
        Folder(f"/var/lib/onebox/{app.name}/timers", mode="700"),
        Folder(f"/var/lib/onebox/{app.name}/temporary", mode="1770", owner=f"root:{app.name}"),
        Folder("/etc/tmpfiles.d"),
    ]


def _configuration(vm: VM, app: App, machine: Machine) -> list[File]:
    return [
        template("etc/onebox/NAME.json", app=app, parameters=_parameters(app).document()),
        template(
            "etc/NAME/app.env", mode="600", app=app, environment=environment(vm, app, machine)
        ),
        template(
            "etc/NAME/migrate.env",
            mode="600",
            app=app,
            environment=_database(app, app.migrator),
        ),
        template("etc/NAME/secrets.env", mode="600", app=app),
        template("etc/needrestart/conf.d/onebox-NAME.conf", app=app),
        template("etc/tmpfiles.d/onebox-NAME.conf", app=app),
        template("etc/NAME/static", app=app),
        template("etc/NAME/gunicorn.conf.py", app=app, workers=workers_of(app, machine)),
        *(
            [File(f"/etc/{app.name}/known_hosts", app.git_known_hosts.read_text())]
            if app.git_known_hosts
            else []
        ),
    ]


def _parameters(app: App) -> Parameters:
    """Return the parameters of onebox-release."""
    return Parameters(
        domains=app.domains,
        health=app.health,
        processes=[process.name for process in app.processes],
        database=app.database,
        migrates=bool(app.migrate),
        migrate=app.migrate,
        migrate_timeout=app.migrate_timeout,
        migrations_compatible=app.migrations_compatible,
        build=app.build,
        start_timeout=app.start_timeout,
        settle=app.settle,
        watch=app.watch,
        drain=app.drain,
        keep_releases=app.keep_releases,
        units=[
            *(PurePath(unit.path).name for unit in _units(app)),
            *(f"{app.name}-{timer.name}@.service" for timer in app.timers),
        ],
        timers=[timer.name for timer in app.timers],
        hooks=app.hooks.commands,
    )


def _units(app: App) -> list[File]:
    kinds = [
        "onebox-listen-NAME.service", "NAME.service", "NAME@.target", "NAME-web@.socket",
        "NAME-web@.service",
    ]  # fmt: skip
    optional = [path for path, used in _optional(app).items() if used]
    paths = [f"{UNITS}/{kind}" for kind in kinds] + optional
    processes = [
        template(f"{UNITS}/NAME-PROCESS@.service", app=app, process=process)
        for process in app.processes
    ]
    return [template(path, app=app) for path in paths] + processes


def _optional(app: App) -> dict[str, bool]:
    """Return an app's optional units, and whether it has each."""
    return {MIGRATION: bool(app.migrate), HOOK: bool(app.hooks.commands)}


def environment(vm: VM, app: App, machine: Machine) -> dict[str, str]:
    """Return the environment that a release keeps; the app's `env` overrides it, secrets both.

    The only secret in it is the address of an external database. WEB_CONCURRENCY is Gunicorn's name
    for the number of workers. DATABASE_CONNECTIONS is the maximum for all processes of the app, of
    two releases during a switch. ONEBOX_HEALTH is kept with each release, because a rollback checks
    the health path of the release that it makes live.
    """
    own = {"WEB_CONCURRENCY": str(workers_of(app, machine))}
    if app.database == "local":
        own["DATABASE_CONNECTIONS"] = str(vm.connections[0])
    plain = {**_database(app, app.name), **own, **app.env, "ONEBOX_HEALTH": app.health}
    secrets = {secret.name: secret.value.get_secret_value() for secret in app.secrets}
    public = {name: value for name, value in plain.items() if name not in secrets}
    # A release keeps its database: a failed deploy must not move the live release to another.
    return public | ({DATABASE: secrets[DATABASE]} if app.database == "external" else {})


def _database(app: App, role: str) -> dict[str, str]:
    templates = app.database_env if app.database == "local" else {}
    return {
        key: value.replace("{role}", role).replace("{name}", app.name)
        for key, value in templates.items()
    }
