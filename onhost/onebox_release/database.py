"""The app's database: where it is at, which releases can run on it, its dump and migration."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from . import faults, history, postgresql, resources, revisions, systemd
from .errors import RefusedError, ReleaseError
from .parameters import Parameters
from .places import Places
from .report import excerpt, say

DUMPS = 3  # how many are kept
CONSENT = (
    "Mark a revision `onebox_compatible = True` if the live release can run on what it leaves"
    " (expand first, contract in a later deploy). Or deploy once with"
    " --data allow_incompatible=true: a dump is taken first, and going back is not possible."
)


def migrate(
    places: Places, parameters: Parameters, release: str, before: str | None, *, consent: bool
) -> bool:
    """Bring the database up to date for a release; tell whether `before` can run on it then.

    Raises RefusedError where it couldn't and nobody consented, ReleaseError where it fails.
    """
    if not parameters.migrates:
        return True
    own = _revisions(places, release)
    if own is None or parameters.database != "local":
        can_go_back = runs_blindly(parameters, release, before)
        _agree(places, parameters, release, ["the migration"] * (not can_go_back), consent=consent)
        _run(places, release)
        return can_go_back
    heads = at(places)
    _check_forward(places, release, before, heads)
    missing = revisions.pending(own, heads)
    applied = _applied(places, heads) | {revision.name for revision in missing}
    behind = _revisions(places, before) if before else own
    way = revisions.in_the_way(behind or {}, own, applied)
    if missing:
        _agree(places, parameters, release, way, consent=consent)
        say(f"Migrating the database: {', '.join(revision.name for revision in missing)}")
        _run(places, release)
    return not way


def check_back(places: Places, parameters: Parameters, release: str, live: str | None) -> None:
    """Raise RefusedError unless an earlier release can be said to run on today's database."""
    if not parameters.migrates:
        return
    own = _revisions(places, release)
    if own is None or parameters.database != "local":
        if not runs_blindly(parameters, release, live):
            raise RefusedError(
                f"Nobody can say whether release {release} runs on today's database: its"
                " migrations are not Alembic's on this server. --force goes back all the same."
            )
        return
    successor = history.successor(places, release)
    newer = (_revisions(places, successor) if successor else None) or {}
    heads = at(places)
    if way := revisions.in_the_way(own, newer, _applied(places, heads)):
        raise RefusedError(
            f"Release {release} may not run on today's database, which has moved on since:"
            f" {', '.join(way)} came after it, and nothing there says that it can live with that."
            " (A revision with `onebox_compatible = True` says so, of the release right before"
            " it.) Go back to a newer release, or to this one all the same with --force."
        )


def runs_blindly(parameters: Parameters, release: str, other: str | None) -> bool:
    """Tell whether two releases can run on each other's database, where revisions can't be read:
    the same artifact can, others if the settings promise it."""
    same = other is None or other.partition("-")[0] == release.partition("-")[0]
    return same or parameters.migrations_compatible


def at(places: Places) -> list[str]:
    """Return the heads that the local database is at; none in an empty one.

    Raises ReleaseError where it doesn't answer. Asked as the schema's owner, never a superuser:
    what the table is named for could be a view.
    """
    owner = f"{places.app}-migrate"
    sql = "select version_num from alembic_version"
    try:
        return postgresql.query(sql, role=owner, database=places.app).split()
    except ReleaseError as error:
        if "does not exist" in str(error):
            return []
        raise


def _revisions(places: Places, release: str) -> dict[str, revisions.Revision] | None:
    return revisions.read(places.release(release) / "app")


def _applied(places: Places, heads: list[str]) -> set[str]:
    """Return what the database has, as far as any release that is here can tell."""
    known: dict[str, revisions.Revision] = {}
    for folder in (places.home / "releases").glob("*/app"):
        with suppress(ReleaseError):
            known |= revisions.read(folder) or {}
    return revisions.ancestors(known, heads) | set(heads)


def _check_forward(places: Places, release: str, before: str | None, heads: list[str]) -> None:
    """Refuse older code on a database that has moved on without it."""
    own = _revisions(places, release) or {}
    newer = (_revisions(places, before) if before else None) or {}
    if way := revisions.in_the_way(own, newer, _applied(places, heads)):
        raise RefusedError(
            f"The database is at {', '.join(heads)}, and this release does not know"
            f" {', '.join(way)}. Deploy code that has these revisions."
        )


def _agree(
    places: Places, parameters: Parameters, release: str, way: list[str], *, consent: bool
) -> None:
    """Go on where going back stays possible; elsewhere only with consent, after a dump."""
    if not way:
        return
    names = ", ".join(way)
    if not consent:
        raise RefusedError(f"The live release may not be able to run on {names}. {CONSENT}")
    if parameters.database == "local":
        say(f"Dumped the database to {_dump(places, release)}")
    say(f"PUTTING BACK IS OFF: the live release may not be able to run on {names}")


def _dump(places: Places, release: str) -> Path:
    """Dump the database, and keep the last ones. Those that earlier attempts at this release took
    stay: they may have what a migration that failed half-way has dropped since."""
    path = places.dumps / f"{release}.{datetime.now(UTC):%Y%m%d-%H%M%S}.dump"
    places.dumps.mkdir(mode=0o700, exist_ok=True)
    resources.check_disk(places, dump=True)
    postgresql.dump(places.app, path)
    faults.point("dumped")
    dumps = sorted(places.dumps.glob("*.dump"), key=lambda dump: dump.stat().st_mtime)
    for old in (dump for dump in dumps[:-DUMPS] if not dump.name.startswith(f"{release}.")):
        old.unlink()
    return path


def _run(places: Places, release: str) -> None:
    unit = places.migration(release)
    try:
        systemd.systemctl("start", unit)
    except ReleaseError as error:
        log = systemd.journal(unit)
        systemd.systemctl("reset-failed", unit)
        raise ReleaseError(_failure(places, log)) from error
    faults.point("migrated")


def _failure(places: Places, log: str) -> str:
    steps = re.findall(r"Running upgrade .*?-> ([^\s,]+)", log)
    failed = f" at revision {steps[-1]}" if steps else ""
    with suppress(ReleaseError):
        failed += f".\nThe database is at {', '.join(at(places)) or 'no revision'}"
    return f"The migration failed{failed}.\nIts last lines:\n{excerpt(log)}"
