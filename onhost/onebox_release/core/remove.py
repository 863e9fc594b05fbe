"""An app's end: everything of it leaves the server, but for a last copy of its data.

Each step can be taken twice, and the file that makes the app known goes last: whenever this is
cut off, running it again does the rest. Until the database is dropped nothing is lost, and what
it drops has been copied, and flushed to the disk, before.
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

DROP = 300  # seconds for a database's files to be deleted


def remove(app: App, who: str, *, keep: bool) -> None:
    """Take an app off the server; `keep` a last copy of its data.

    Raises LockedError while a deploy runs or deploys are on hold, ReleaseError where a step fails.
    """
    with _no_deploys(who):
        _stop(app)
        faults.point("stopped")
        try:
            copies = _copy(app) if keep else []
        except (ReleaseError, OSError):
            log(f"Nothing is removed: {app.name} is started again")
            systemd.systemctl("enable", "--quiet", app.boot_unit.name)
            for job in _jobs(app):
                timer = job.with_suffix(".timer")
                if timer.exists():
                    systemd.systemctl("enable", "--now", "--quiet", timer.name)
            release.recover(app)
            raise
        faults.point("copied")
        log(f"Taking {app.name} out of nginx")
        nginx.leave_out(app)
        faults.point("unserved")
        if app.parameters.database == "local":
            log(f"Dropping the database {app.name}")
            _drop(app.name)
        faults.point("dropped")
        log("Deleting its files and users")
        _delete(app)
        faults.point("deleted")
        app.parameters_file.unlink()
        _expect_less(app)
        durable.sync_folder(app.parameters_file.parent)
    log(f"{app.name} is gone from this server.")
    for copy in copies:
        log(f"A last copy: {copy}")


@contextmanager
def _no_deploys(who: str) -> Iterator[None]:
    """Have the lock of a whole deploy. Raises LockedError where one runs, or they are on hold.

    It is not waited for here: a deploy that has it may wait for this app's unit.
    """
    with lock.opened() as file:
        if reason := lock.acquire(file, who, 0, log, lambda _: False):
            raise LockedError(reason)
        yield


def _stop(app: App) -> None:
    """Stop all processes of an app, for good: a boot does not start them either."""
    name = app.name
    log(f"Stopping {name}")
    if app.boot_unit.exists():
        systemd.systemctl("disable", "--now", "--quiet", app.boot_unit.name)
    for job in _jobs(app):
        systemd.systemctl("disable", "--now", "--quiet", job.with_suffix(".timer").name)
        systemd.systemctl("stop", job.name)
    processes = release_units.all_processes(app)
    own = ("migrate", "web", "hook", *processes, *app.parameters.jobs)
    kinds = (f"{kind}@*.service" for kind in own)
    units = [f"{name}@*.target", f"{name}-web@*.socket", *(f"{name}-{kind}" for kind in kinds)]
    units.append(f"onebox-run-{name}@*.service")
    systemd.systemctl("stop", *units)
    if app.slice.exists():  # whatever else is in it
        systemd.systemctl("stop", app.slice.name)
    systemd.systemctl("reset-failed", *units)


def _copy(app: App) -> list[Path]:
    """Copy what no deploy could make again; return where to."""
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
    kept = [path for path in (app.data, app.generated) if path.exists()]
    if kept:
        copies.append(app.copies / f"{name}.tar.gz")
        log(f"Copying its own files to {copies[-1]}")
        new = copies[-1].with_suffix(".new")
        most = resources.room(app.copies)
        if not untrusted.archive(new, *kept, root=app.root, most=most):
            log(f"Left out: what is more than {untrusted.DEEPEST} folders deep")
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
    """Drop a role, and what it was granted in other apps' databases: their owners can grant it
    anything, and it can't be dropped until then."""
    for database in postgresql.databases_of(role):
        with suppress(ReleaseError):  # one that is locked, or let nobody in
            postgresql.query(f'drop owned by "{role}"', role="postgres", database=database)
    try:
        postgresql.query(f'drop role if exists "{role}"', role="postgres")
    except ReleaseError as error:
        aside = f"{role}-removed-{datetime.now(UTC):%Y%m%d%H%M%S}"
        postgresql.query(f'alter role "{role}" nologin', role="postgres")
        postgresql.query(f'alter role "{role}" rename to "{aside}"', role="postgres")
        log(f"The role {role} could not be dropped and is called {aside} now: {error}")


def _delete(app: App) -> None:
    release_units.prune(app, set())
    for job in _jobs(app):
        _vanish(app.timer_stamp(job.stem))
    for unit in _units(app):
        unit.unlink()
    systemd.systemctl("daemon-reload")
    for path in app.all_paths():
        _vanish(path)
    for user in (f"{app.name}-build", f"{app.name}-migrate", app.name):
        _allow(user)
        _forget(app, user)
    for file in app.access_log.parent.glob(f"{app.access_log.name}*"):
        file.unlink()


def _units(app: App) -> list[Path]:
    """Return the app's unit files, those of processes that it once had too."""
    boot = (app.boot_unit, app.listen_unit, app.slice)
    found = app.having(processes=[]).templates() + [path for path in boot if path.exists()]
    for path in app.web_unit.parent.glob(f"{app.name}-*@.service"):
        if f"=/srv/{app.name}/" in path.read_text() and path not in found:
            found.append(path)
    jobs = _jobs(app)
    return [*found, *jobs, *(job.with_suffix(".timer") for job in jobs)]


def _jobs(app: App) -> list[Path]:
    """Return the units of the app's timers. Another app's name may begin the same."""
    found = app.web_unit.parent.glob(f"onebox-job-{app.name}-*.service")
    return [path for path in found if f" job {app.name} " in path.read_text()]


def _expect_less(app: App) -> None:
    """Let the server's look at itself no longer miss what is gone."""
    if app.manifest.exists():
        lines = app.manifest.read_text().splitlines(keepends=True)
        kept = (line for line in lines if Path(line.split(maxsplit=1)[1].rstrip()).exists())
        durable.write(app.manifest, "".join(kept))


def _vanish(path: Path) -> None:
    """Delete a file, or a folder whose name goes first: half of one must not pass for a whole."""
    gone = path.with_name(f".{path.name}.gone")
    untrusted.delete(gone)
    if path.is_dir() and not path.is_symlink():
        path.rename(gone)
        untrusted.delete(gone)
    else:
        path.unlink(missing_ok=True)


def _allow(user: str) -> None:
    """Take a user out of those who reach no link-local address: another one may get its number."""
    element = ["element", "inet", "onebox_link_local", "apps", f"{{ {user} }}"]
    subprocess.run(["nft", "delete", *element], capture_output=True, check=False)


def _forget(app: App, user: str) -> None:
    """Delete a user with its group, and the mask of its systemd manager: the next user to get its
    id may be another's."""
    with suppress(KeyError):  # it is gone, by an earlier run that was cut off here
        (app.units_folder / f"user@{pwd.getpwnam(user).pw_uid}.service").unlink(missing_ok=True)
    for command, known in (("userdel", pwd.getpwnam), ("groupdel", grp.getgrnam)):
        try:
            known(user)
        except KeyError:
            continue
        result = subprocess.run([command, user], capture_output=True, text=True, check=False)
        if result.returncode:
            raise ReleaseError(f"{command} {user}: {result.stderr.strip()}")
