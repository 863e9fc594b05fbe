"""The app's database: where it is at, which releases can run on it, its dump and migration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from onebox_release import faults
from onebox_release.app import App, Release
from onebox_release.core import environment, history, revisions
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import postgresql, resources, systemd
from onebox_release.report import last_lines, log, plain

NO_TABLE, NO_PERMISSION = "42P01", "42501"  # SQLSTATE
DUMPS = 3  # how many are kept
NAMES = 8  # revisions that a message names
CONSENT = (
    "Mark a revision `onebox_compatible = True` if the live release can run on what it leaves"
    " (expand first, contract in a later deploy). Or deploy once with"
    " --data allow_incompatible=true: a dump is taken first, and rolling back is not possible."
)
CONSENT_UNKNOWN = (
    "If the live release can run on what every migration leaves, set `migrations_compatible`."
    " Or deploy once with --data allow_incompatible=true: {dump}rolling back is not possible."
)


def migrate(release: Release, before: Release | None, *, consent: bool) -> bool:
    """Run the migration of a release, always; return whether `before` can run on what it leaves.

    Raises RefusedError where it couldn't and nobody consented, ReleaseError where it fails.
    """
    if not release.app.parameters.migrates:
        return True
    own, heads = _read(release), None
    if not isinstance(own, revisions.Unknown):
        heads = database_heads(release.app)
        own = _trusted(release.app, own, heads)
    if isinstance(own, revisions.Unknown):
        can_roll_back = presumed_compatible(release, before)
        if not can_roll_back:
            _agree_unknown(release, own, consent=consent)
        _run(release)
        return can_roll_back
    heads = heads or []
    _check_forward(release, before, heads)
    missing = revisions.pending(own, heads)
    applied = _applied(release.app, heads) | {revision.name for revision in missing}
    behind = _known(before) if before else own
    way = revisions.in_the_way(behind, own, applied)
    if missing:
        told = f"The live release may not be able to run on {_named(way)}."
        if way:
            _agree(release, told, CONSENT, consent=consent)
        log(f"Pending revisions: {_named(revision.name for revision in missing)}")
    _run(release)
    left = revisions.pending(own, database_heads(release.app))
    if left and before:
        log(
            f"AUTOMATIC ROLLBACK IS DISABLED: `migrate` ended well, and the table alembic_version"
            f" lacks {_named(revision.name for revision in left)}"
        )
    return not way and (not left or presumed_compatible(release, before))


def check_rollback(release: Release, live: Release | None) -> None:
    """Raise RefusedError unless an earlier release can be said to run on today's database."""
    elsewhere = live and environment.database(release) != environment.database(live)
    if elsewhere and release.app.parameters.database == "external":
        raise RefusedError(
            f"Release {release} has another DATABASE_URL than the live release {live}: what was"
            " written since is not there, or its password is an old one. Deploy its code again, or"
            " roll back anyway with --force."
        )
    if not release.app.parameters.migrates:
        return
    own, heads = _read(release), None
    if not isinstance(own, revisions.Unknown):
        heads = database_heads(release.app)
        own = _trusted(release.app, own, heads)
    if isinstance(own, revisions.Unknown):
        if not presumed_compatible(release, live):
            raise RefusedError(
                f"Whether release {release} runs on today's database is unknown: {own.why}."
                " Set `migrations_compatible` if every migration keeps the previous release"
                " working, or roll back anyway with --force."
            )
        return
    successor = history.successor(release.app, release.id)
    newer = _known(release.app.release(successor)) if successor else {}
    if way := revisions.in_the_way(own, newer, _applied(release.app, heads or [])):
        raise RefusedError(
            f"Release {release} may not run on today's database, which has moved on since:"
            f" {_named(way)} came after it, and nothing there says that it can live with that."
            " (A revision with `onebox_compatible = True` says so, of the release right before"
            " it.) Go back to a newer release, or to this one all the same with --force."
        )


def presumed_compatible(release: Release, other: Release | None) -> bool:
    """Tell whether two releases can run on each other's database, where revisions can't be read:
    the same artifact can, others if the settings promise it."""
    same = other is None or other.artifact == release.artifact
    return same or release.app.parameters.migrations_compatible


def database_heads(app: App) -> list[str]:
    """Return the heads that the local database is at; none in an empty one.

    Raises ReleaseError where it doesn't answer. Asked as the schema's owner, never a superuser:
    what the table is named for could be a view.
    """
    owner = f"{app.name}-migrate"
    # Whatever is in it: `left` and the column's type may be the app's own.
    sql = "select pg_catalog.left(version_num::pg_catalog.text, 200) from alembic_version limit 100"
    try:
        return postgresql.query(sql, role=owner, database=app.name).splitlines()
    except postgresql.QueryError as error:
        if error.state == NO_TABLE:
            return []
        if error.state == NO_PERMISSION:
            raise ReleaseError(
                f"database: the role {owner} cannot read the table alembic_version (permission"
                " denied): it belongs to another role, or the schema does. A deploy from the"
                f" inventory hands what is in the database to {owner}:"
                " pyinfra -y inventory.py deploy.py"
            ) from error
        raise


def _read(release: Release) -> revisions.Read:
    """Return a release's revisions, or why nobody can tell."""
    if release.app.parameters.database != "local":
        return revisions.Unknown("its database is not on this server")
    if environment.sets(release, "ALEMBIC_CONFIG"):
        return revisions.Unknown("its environment sets ALEMBIC_CONFIG")
    return revisions.read(release.folder / "app", release.app.parameters.migrate)


def _trusted(app: App, own: dict[str, revisions.Revision], heads: list[str]) -> revisions.Read:
    """Return revisions, unless the database shows that Alembic keeps its table elsewhere."""
    if heads or not own or not _has_tables(app):
        return own
    return revisions.Unknown(
        f"the database {app.name} has tables, and no revision in the table alembic_version: set"
        " no version_table and no version_table_schema, or record where it is with `alembic stamp`"
    )


def _has_tables(app: App) -> bool:
    owner = f"{app.name}-migrate"
    sql = (
        "select exists (select from pg_catalog.pg_class where relkind in ('r', 'p')"
        " and relname <> 'alembic_version' and relpersistence = 'p'"
        " and pg_catalog.pg_get_userbyid(relowner) = current_user)"
    )
    return postgresql.query(sql, role=owner, database=app.name).strip() == "t"


def _known(release: Release) -> dict[str, revisions.Revision]:
    """Return a release's revisions, none where they can't be read: nothing speaks for it then."""
    found = _read(release)
    return {} if isinstance(found, revisions.Unknown) else found


def _applied(app: App, heads: list[str]) -> set[str]:
    """Return what the database has, as far as any release that is here can tell."""
    known: dict[str, revisions.Revision] = {}
    for folder in (app.home / "releases").glob("*/app"):
        with suppress(ReleaseError):
            known |= _known(app.release(folder.parent.name))
    return revisions.ancestors(known, heads) | set(heads)


def _named(names: Iterable[str]) -> str:
    """Return revisions for a message: the archive names them."""
    found = [plain(name, 60) for name in names]
    more = f" and {len(found) - NAMES} more" if len(found) > NAMES else ""
    return ", ".join(found[:NAMES]) + more


def _check_forward(release: Release, before: Release | None, heads: list[str]) -> None:
    """Refuse older code on a database that has moved on without it."""
    own = _known(release)
    newer = _known(before) if before else {}
    if way := revisions.in_the_way(own, newer, _applied(release.app, heads)):
        raise RefusedError(
            f"The database is at {_named(heads)}, and this release does not know"
            f" {_named(way)}. Deploy code that has these revisions."
        )


def _agree_unknown(release: Release, own: revisions.Unknown, *, consent: bool) -> None:
    dump = "a dump is taken first, and " if release.app.parameters.database == "local" else ""
    told = (
        "The live release may not be able to run on what `migrate` leaves, which can't be read:"
        f" {own.why}."
    )
    fix = CONSENT_UNKNOWN.format(dump=dump)
    _agree(release, told, fix, consent=consent)


def _agree(release: Release, told: str, fix: str, *, consent: bool) -> None:
    """Go on with consent alone, after a dump."""
    if not consent:
        raise RefusedError(f"{told} {fix}")
    if release.app.parameters.database == "local":
        log(f"Dumped the database to {_dump(release)}")
    log(f"AUTOMATIC ROLLBACK IS DISABLED: {told}")


def _dump(release: Release) -> Path:
    """Dump the database, and keep the last ones. Those that earlier attempts at this release took
    stay: they may have what a migration that failed half-way has dropped since."""
    path = release.app.dumps / f"{release}.{datetime.now(UTC):%Y%m%d-%H%M%S}.dump"
    release.app.dumps.mkdir(mode=0o700, exist_ok=True)
    resources.check_disk(release.app, dump=True)
    postgresql.dump(release.app.name, path, release.app.parameters.migrate_timeout)
    faults.point("dumped")
    dumps = sorted(release.app.dumps.glob("*.dump"), key=lambda dump: dump.stat().st_mtime)
    for old in (dump for dump in dumps[:-DUMPS] if not dump.name.startswith(f"{release}.")):
        old.unlink()
    return path


def _run(release: Release) -> None:
    unit, most = release.migration, release.app.parameters.migrate_timeout
    log(
        f"Running `migrate`, for {most} s at most (`migrate_timeout`); its progress:"
        f" journalctl -fu {unit}"
    )
    try:
        systemd.systemctl("start", unit, within=None)  # the unit bounds it
    except ReleaseError as error:
        journal = systemd.journal(unit)
        is_late = systemd.show(unit, "Result").get("Result") == "timeout"
        systemd.systemctl("reset-failed", unit)
        raise ReleaseError(_failure(release.app, journal, is_late=is_late)) from error
    faults.point("migrated")


def _failure(app: App, log: str, *, is_late: bool) -> str:
    steps = re.findall(r"Running upgrade .*?-> ([^\s,]+)", log)
    what = "The migration failed"
    if is_late:
        what = (
            f"The migration was not done after {app.parameters.migrate_timeout} s"
            " (`migrate_timeout`), and was stopped"
        )
    what += f" at revision {plain(steps[-1], 60)}" if steps else ""
    with suppress(ReleaseError):
        what += f".\nThe database is at {_named(database_heads(app)) or 'no revision'}"
    if is_late:
        what += ".\nSet `migrate_timeout` higher, or move the slow part out of the migration"
    return f"{what}.\n{last_lines(log)}"
