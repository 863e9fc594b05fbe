"""Remove an app from the server, keeping a final backup of its data.

Each step can be repeated, and the file that registers the app is deleted last: after an
interruption, another run completes the removal. Nothing is lost before the database is dropped, and
by then its backup is flushed to the disk.
"""

from __future__ import annotations

import grp
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from onebox_release import faults
from onebox_release.app import App
from onebox_release.core import release, release_units
from onebox_release.errors import LockedError, ReleaseError
from onebox_release.host import durable, lock, nginx, postgresql, resources, systemd, untrusted
from onebox_release.report import log

DROP = 300  # seconds to delete a database's files


def remove(app: App, who: str, *, keep: bool) -> None:
    """Remove an app from the server; with `keep`, make a final backup of its data.

    Raises LockedError during a deploy or a hold, ReleaseError if a step fails.
    """
    with _no_deploys(who):
        _stop(app)
        faults.point("stopped")
        try:
            copies = _copy(app) if keep else []
        except (ReleaseError, OSError):
            log(f"Nothing was removed; starting {app.name} again")
            systemd.systemctl("enable", "--quiet", app.boot_unit.name)
            for service in _timer_services(app):
                timer = service.with_suffix(".timer")
                if timer.exists():
                    systemd.systemctl("enable", "--now", "--quiet", timer.name)
            release.recover(app)
            raise
        faults.point("copied")
        log(f"Removing {app.name} from nginx")
        nginx.remove_site(app)
        faults.point("unserved")
        if app.parameters.database == "local":
            log(f"Dropping the database {app.name}")
            _drop(app.name)
        faults.point("dropped")
        log("Deleting its files and users")
        _delete(app)
        faults.point("deleted")
        app.parameters_file.unlink()
        _trim_manifest(app)
        durable.sync_folder(app.parameters_file.parent)
    log(f"Removed {app.name} from this server.")
    for copy in copies:
        log(f"Final backup: {copy}")


@contextmanager
def _no_deploys(who: str) -> Iterator[None]:
    """Hold the server's deploy lock. Raises LockedError during a deploy or a hold.

    It does not wait for the lock: the deploy that has it may wait for this app's unit.
    """
    with lock.open_lock() as file:
        if reason := lock.acquire(file, who, 0, log, lambda _: False):
            raise LockedError(reason)
        yield


def _stop(app: App) -> None:
    """Stop all processes of an app, and disable them at boot."""
    name = app.name
    log(f"Stopping {name}")
    if app.boot_unit.exists():
        systemd.systemctl("disable", "--now", "--quiet", app.boot_unit.name)
    for service in _timer_services(app):
        systemd.systemctl("disable", "--now", "--quiet", service.with_suffix(".timer").name)
        systemd.systemctl("stop", service.name)
    processes = release_units.all_processes(app)
    own = ("migrate", "web", "hook", *processes, *app.parameters.timers)
    kinds = (f"{kind}@*.service" for kind in own)
    units = [f"{name}@*.target", f"{name}-web@*.socket", *(f"{name}-{kind}" for kind in kinds)]
    units.append(f"onebox-run-{name}@*.service")
    systemd.systemctl("stop", *units)
    if app.slice.exists():  # any other process in it
        systemd.systemctl("stop", app.slice.name)
    systemd.systemctl("reset-failed", *units)


def _copy(app: App) -> list[Path]:
    """Back up the data that no deploy could recreate; return the files."""
    app.copies.mkdir(mode=0o700, parents=True, exist_ok=True)
    for half in app.copies.glob(f"{app.name}-*.new"):
        half.unlink()
    name = f"{app.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    copies = []
    is_here = app.parameters.database == "local" and postgresql.exists(app.name)
    resources.check_copy(app, resources.used(app.data), dump=is_here)
    if is_here:
        copies.append(app.copies / f"{name}.dump")
        log(f"Dumping the database to {copies[-1]}")
        postgresql.open_to_superuser(app.name)
        postgresql.dump(app.name, copies[-1], app.parameters.migrate_timeout)
    paths = [path for path in (app.data, app.generated) if path.exists()]
    if paths:
        copies.append(app.copies / f"{name}.tar.gz")
        log(f"Copying its own files to {copies[-1]}")
        new = copies[-1].with_suffix(".new")
        most = resources.room(app.copies)
        if not untrusted.archive(new, *paths, root=app.root, most=most):
            log(f"Not in the backup: folders deeper than {untrusted.DEEPEST} levels")
        with new.open("rb") as file:
            durable.sync(file)
        durable.rename(new, copies[-1])
    return copies


def _drop(app: str) -> None:
    if postgresql.exists(app):
        postgresql.open_to_superuser(app)
    drop = f'drop database if exists "{app}" with (force)'
    postgresql.query(drop, role="postgres", seconds=DROP)
    for role in (app, f"{app}-migrate"):
        _drop_role(role)


def _drop_role(role: str) -> None:
    """Drop a role, and its privileges in other apps' databases: their owners can grant it any, and
    they prevent dropping it."""
    for database in postgresql.databases_of(role):
        with suppress(ReleaseError):  # it may be locked or accept no connections
            postgresql.query(f'drop owned by "{role}"', role="postgres", database=database)
    try:
        postgresql.query(f'drop role if exists "{role}"', role="postgres")
    except ReleaseError as error:
        new_name = f"{role}-removed-{datetime.now(UTC):%Y%m%d%H%M%S}"
        postgresql.query(f'alter role "{role}" nologin', role="postgres")
        postgresql.query(f'alter role "{role}" rename to "{new_name}"', role="postgres")
        log(f"Could not drop the role {role}; renamed it to {new_name}: {error}")


def _delete(app: App) -> None:
    release_units.prune(app, set())
    for service in _timer_services(app):
        _delete_path(app.timer_stamp(service.stem))
    for unit in _units(app):
        unit.unlink()
    systemd.systemctl("daemon-reload")
    for path in app.all_paths():
        _delete_path(path)
    for user in (f"{app.name}-build", f"{app.name}-migrate", app.name):
        _remove_from_nft_set(user)
        _delete_user(app, user)
    for file in app.access_log.parent.glob(f"{app.access_log.name}*"):
        file.unlink()


def _units(app: App) -> list[Path]:
    """Return the app's unit files, including those of former processes."""
    boot = (app.boot_unit, app.listen_unit, app.slice)
    found = app.with_parameters(processes=[]).templates() + [path for path in boot if path.exists()]
    for path in app.web_unit.parent.glob(f"{app.name}-*@.service"):
        if f"=/srv/{app.name}/" in path.read_text() and path not in found:
            found.append(path)
    services = _timer_services(app)
    return [*found, *services, *(each.with_suffix(".timer") for each in services)]


def _timer_services(app: App) -> list[Path]:
    """Return the service units of the app's timers. Other apps' names may share its prefix."""
    found = app.web_unit.parent.glob(f"onebox-timer-{app.name}-*.service")
    return [path for path in found if f" timer {app.name} " in path.read_text()]


def _trim_manifest(app: App) -> None:
    """Remove deleted files from the manifest that the checks compare."""
    if app.manifest.exists():
        lines = app.manifest.read_text().splitlines(keepends=True)
        lines_kept = (line for line in lines if Path(line.split(maxsplit=1)[1].rstrip()).exists())
        durable.write(app.manifest, "".join(lines_kept))


def _delete_path(path: Path) -> None:
    """Rename a folder, then delete it, so that a half-deleted one does not pass for complete;
    delete a file."""
    gone = path.with_name(f".{path.name}.gone")
    untrusted.delete(gone)
    if path.is_dir() and not path.is_symlink():
        path.rename(gone)
        untrusted.delete(gone)
    else:
        path.unlink(missing_ok=True)


def _remove_from_nft_set(user: str) -> None:
    """Remove a user from the set of users without link-local access: its id may be reused."""
    element = ["element", "inet", "onebox_link_local", "apps", f"{{ {user} }}"]
    subprocess.run(["nft", "delete", *element], capture_output=True, check=False)


def _delete_user(app: App, user: str) -> None:
    """Delete a user, its group and the mask of its systemd manager: its id may be reused."""
    with suppress(KeyError):  # an earlier, interrupted run deleted it
        (app.units_folder / f"user@{pwd.getpwnam(user).pw_uid}.service").unlink(missing_ok=True)
    for command, known in (("userdel", pwd.getpwnam), ("groupdel", grp.getgrnam)):
        try:
            known(user)
        except KeyError:
            continue
        result = subprocess.run([command, user], capture_output=True, text=True, check=False)
        if result.returncode:
            raise ReleaseError(f"{command} {user}: {result.stderr.strip()}")
