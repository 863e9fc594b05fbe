"""The app's database: where it is at, a dump of it, and its migration."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from . import faults, resources, revisions, systemd
from .errors import RefusedError, ReleaseError
from .parameters import Parameters
from .places import Places
from .report import say
from .revisions import Revision

AS_POSTGRES = ["runuser", "-u", "postgres", "--"]
CONSENT = (
    "Mark it `onebox_compatible = True` if the live release can run on what it leaves"
    " (expand first, contract in a later deploy), or deploy once with"
    " --data allow_incompatible=true: a dump is taken first, and going back is not possible."
)


def migrate(
    places: Places, parameters: Parameters, release: str, before: str | None, *, consent: bool
) -> bool:
    """Bring the database up to date for a release; tell whether `before` can still run on it.

    Raises RefusedError where it couldn't and nobody consented, ReleaseError where it fails.
    """
    if not parameters.migrates:
        return True
    wanted = revisions.read(places.release(release) / "app")
    if wanted is None:
        return _migrate_blindly(places, parameters, release, before, consent=consent)
    heads = at(places, parameters, release)
    pending = revisions.pending(wanted, heads)
    check_readable(places, release, heads)
    if not pending:
        return True
    compatible = before is None or all(revision.compatible for revision in pending)
    _agree(places, parameters, pending, release, compatible=compatible, consent=consent)
    say(f"Migrating the database: {', '.join(revision.name for revision in pending)}")
    _run(places, parameters, release)
    return compatible


def check_readable(places: Places, release: str, heads: list[str]) -> None:
    """Raise RefusedError if the database has what a release can't live with."""
    own = revisions.read(places.release(release) / "app") or {}
    folders = (places.home / "releases").glob("*/app")
    known = {k: r for folder in folders for k, r in (revisions.read(folder) or {}).items()}
    if ahead := revisions.unreadable(own, heads, known):
        raise RefusedError(
            f"The database is at {', '.join(ahead)}, which release {release} does not know and"
            " can't be said to run on: the revision is not marked `onebox_compatible`."
        )


def at(places: Places, parameters: Parameters, release: str) -> list[str]:
    """Return the heads that the database is at; none in an empty one."""
    if parameters.database == "local":
        query = "select version_num from alembic_version"
        command = [*AS_POSTGRES, "psql", "-XqAt", "-d", places.app, "-c", query]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if result.returncode and "does not exist" not in result.stderr:
            raise ReleaseError(f"The database doesn't answer: {result.stderr.strip()}")
        return result.stdout.split()
    output = systemd.run_like(places.migration(release), "alembic current")
    return re.findall(r"^(\w+)(?: \(head\))?$", output, re.MULTILINE)


def _migrate_blindly(
    places: Places, parameters: Parameters, release: str, before: str | None, *, consent: bool
) -> bool:
    """Migrate by a tool that can't be asked what is pending."""
    compatible = before is None or parameters.migrations_compatible
    same = before and before.split("-")[0] == release.split("-")[0]
    if not same:
        unknown = Revision("what the migrate command does", (), compatible=False)
        _agree(places, parameters, [unknown], release, compatible=compatible, consent=consent)
    say("Migrating the database")
    _run(places, parameters, release)
    return bool(compatible or same)


def _agree(
    places: Places,
    parameters: Parameters,
    pending: list[Revision],
    release: str,
    *,
    compatible: bool,
    consent: bool,
) -> None:
    """Go on with compatible migrations; others need consent, and get a dump first."""
    if compatible:
        return
    names = ", ".join(revision.name for revision in pending if not revision.compatible)
    if not consent:
        raise RefusedError(f"The live release may not be able to run on {names}. {CONSENT}")
    if parameters.database == "local":
        path = _dump(places, release)
        say(f"Dumped the database to {path}")
    say(f"PUTTING BACK IS OFF: the live release may not run on {names}")


def _dump(places: Places, release: str) -> Path:
    path = places.dumps / f"{release}.dump"
    places.dumps.mkdir(mode=0o700, exist_ok=True)
    query = f"select pg_database_size('{places.app}')"
    size = subprocess.run(
        [*AS_POSTGRES, "psql", "-XqAt", "-c", query],
        capture_output=True, text=True, check=True, cwd="/",
    ).stdout  # fmt: skip
    resources.check_disk(places, int(size) // 8, environment=False)
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        command = [*AS_POSTGRES, "pg_dump", "--format=custom", f"--dbname={places.app}"]
        result = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, check=False, cwd="/")
        if result.returncode:
            raise ReleaseError(f"The dump failed: {result.stderr.decode().strip()}")
        file.flush()
    _sync(new)
    new.rename(path)
    faults.point("dumped")
    return path


def _sync(path: Path) -> None:
    subprocess.run(["sync", str(path), str(path.parent)], check=True)


def _run(places: Places, parameters: Parameters, release: str) -> None:
    unit = places.migration(release)
    try:
        systemd.systemctl("start", unit)
    except ReleaseError as error:
        log = systemd.journal(unit, 40)
        systemd.systemctl("reset-failed", unit)
        raise ReleaseError(_failure(places, parameters, release, log)) from error
    faults.point("migrated")


def _failure(places: Places, parameters: Parameters, release: str, log: str) -> str:
    steps = re.findall(r"Running upgrade (?:\w+ )?-> (\w+)", log)
    failed = f" at revision {steps[-1]}" if steps else ""
    heads = ""
    if (places.release(release) / "app/alembic.ini").is_file():
        try:
            heads = (
                f"\nThe database is at {', '.join(at(places, parameters, release)) or 'nothing'}."
            )
        except ReleaseError as error:
            heads = f"\n{error}"
    return f"The migration failed{failed}.{heads}\nIts last lines:\n{log.rstrip()}"
