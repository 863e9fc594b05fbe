"""The app's database: its revisions, dump and migration, and which releases can run on it."""

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
DUMPS = 3  # dumps to keep
NAMES = 8  # revisions to list in a message
ONCE = "`pyinfra -y inventory.py deploy.py --data allow_incompatible=true`"
CONSENT = (
    "Mark a revision `onebox_compatible = True` if the live release can run on its schema"
    " (expand first, contract in a later deploy). Or deploy once with"
    f" {ONCE}. The database is dumped first, and automatic rollback is disabled."
)
CONSENT_UNKNOWN = (
    "If the live release can run on the schema after every migration, set `migrations_compatible`."
    f" Or deploy once with {ONCE}. {{automatic}} rollback is disabled."
)


def migrate(release: Release, before: Release | None, *, consent: bool) -> bool:
    """Run a release's migration, always; return whether `before` can run on the new schema.

    Raises RefusedError if it may not and `consent` is not given, ReleaseError if the migration
    fails.
    """
    if not release.app.parameters.migrates:
        return True
    own, heads = _read(release), None
    if not isinstance(own, revisions.Unknown):
        heads = database_heads(release.app)
        own = _verified(release.app, own, heads)
    if isinstance(own, revisions.Unknown):
        can_roll_back = presumed_compatible(release, before)
        if not can_roll_back:
            _require_consent_unknown(release, own, consent=consent)
        _run(release)
        return can_roll_back
    heads = heads or []
    _check_forward(release, before, heads)
    missing = revisions.pending(own, heads)
    applied = _applied(release.app, heads) | {revision.name for revision in missing}
    previous = _known(before) if before else own
    blocking = revisions.incompatible(previous, own, applied)
    if missing:
        reason = f"The live release might not work with the schema after {_named(blocking)}."
        if blocking:
            _require_consent(release, reason, CONSENT, consent=consent)
        log(f"Pending revisions: {_named(revision.name for revision in missing)}")
    _run(release)
    unapplied = revisions.pending(own, database_heads(release.app))
    compatible = not blocking and (not unapplied or presumed_compatible(release, before))
    if unapplied and before and not compatible:
        log(
            f"Automatic rollback is disabled: `migrate` succeeded, but the table alembic_version"
            f" lacks {_named(revision.name for revision in unapplied)}"
        )
    return compatible


def check_rollback(release: Release, live: Release | None) -> None:
    """Raise RefusedError unless an earlier release is known to run on the current database."""
    elsewhere = live and environment.database(release) != environment.database(live)
    if elsewhere and release.app.parameters.database == "external":
        raise RefusedError(
            f"Release {release} has another DATABASE_URL than the live release {live}: its data may"
            " be out of date, or its password invalid. Deploy its code again, or roll back anyway"
            " with --force."
        )
    if not release.app.parameters.migrates:
        return
    own, heads = _read(release), None
    if not isinstance(own, revisions.Unknown):
        heads = database_heads(release.app)
        own = _verified(release.app, own, heads)
    if isinstance(own, revisions.Unknown):
        if not presumed_compatible(release, live):
            raise RefusedError(
                f"Unknown whether release {release} runs on the current database: {own.why}."
                " Set `migrations_compatible` if every migration keeps the previous release"
                " working, or roll back anyway with --force."
            )
        return
    successor = history.successor(release.app, release.id)
    newer = _known(release.app.release(successor)) if successor else {}
    if blocking := revisions.incompatible(own, newer, _applied(release.app, heads or [])):
        raise RefusedError(
            f"Release {release} might not work with the current database: it has the later"
            f" revisions {_named(blocking)}, which are not marked as compatible with this release."
            " (`onebox_compatible = True` in a revision covers only the release right before it.)"
            " Roll back to a newer release, or to this one with --force."
        )


def presumed_compatible(release: Release, other: Release | None) -> bool:
    """Check whether two releases can run on each other's database if revisions cannot be read:
    those of one artifact can, others if `migrations_compatible` is set."""
    same = other is None or other.artifact == release.artifact
    return same or release.app.parameters.migrations_compatible


def database_heads(app: App) -> list[str]:
    """Return the Alembic heads of the local database; none if it is empty.

    Raises ReleaseError if it does not answer. Runs as the schema's owner, never as a superuser: the
    table could be a view with code of the app.
    """
    owner = f"{app.name}-migrate"
    # Schema-qualified, because `left` and the column's type could be the app's own.
    sql = "select pg_catalog.left(version_num::pg_catalog.text, 200) from alembic_version limit 100"
    try:
        return postgresql.query(sql, role=owner, database=app.name).splitlines()
    except postgresql.QueryError as error:
        if error.state == NO_TABLE:
            return []
        if error.state == NO_PERMISSION:
            raise ReleaseError(
                f"database: the role {owner} cannot read the table alembic_version (permission"
                " denied): another role owns it or its schema. A deploy from the inventory makes"
                f" {owner} the owner: pyinfra -y inventory.py deploy.py"
            ) from error
        raise


def _read(release: Release) -> revisions.Read:
    """Return a release's revisions, or why they are unknown."""
    if release.app.parameters.database != "local":
        return revisions.Unknown("its database is not on this server")
    if environment.sets(release, "ALEMBIC_CONFIG"):
        return revisions.Unknown("its environment sets ALEMBIC_CONFIG")
    return revisions.read(release.folder / "app", release.app.parameters.migrate)


def _verified(app: App, own: dict[str, revisions.Revision], heads: list[str]) -> revisions.Read:
    """Return revisions, unless the database shows that Alembic uses another version table."""
    if heads or not own or not _has_tables(app):
        return own
    return revisions.Unknown(
        f"the database {app.name} has tables but no revision in the table alembic_version: do not"
        " set version_table or version_table_schema, or record the revision with `alembic stamp`"
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
    """Return a release's revisions, or none if they cannot be read."""
    found = _read(release)
    return {} if isinstance(found, revisions.Unknown) else found


def _applied(app: App, heads: list[str]) -> set[str]:
    """Return the revisions in the database, as far as installed releases know them."""
    known: dict[str, revisions.Revision] = {}
    for folder in (app.home / "releases").glob("*/app"):
        with suppress(ReleaseError):
            known |= _known(app.release(folder.parent.name))
    return revisions.ancestors(known, heads) | set(heads)


def _named(names: Iterable[str]) -> str:
    """Return revisions for a message, made safe for a terminal: the archive names them."""
    found = [plain(name, 60) for name in names]
    more = f" and {len(found) - NAMES} more" if len(found) > NAMES else ""
    return ", ".join(found[:NAMES]) + more


def _check_forward(release: Release, before: Release | None, heads: list[str]) -> None:
    """Raise RefusedError if the database has revisions that the release lacks."""
    own = _known(release)
    newer = _known(before) if before else {}
    if blocking := revisions.incompatible(own, newer, _applied(release.app, heads)):
        raise RefusedError(
            f"The database is at {_named(heads)}; this release does not have the revisions"
            f" {_named(blocking)}. Deploy code that has them."
        )


def _require_consent_unknown(release: Release, own: revisions.Unknown, *, consent: bool) -> None:
    is_local = release.app.parameters.database == "local"
    automatic = "The database is dumped first, and automatic" if is_local else "Automatic"
    reason = (
        "The live release might not work with the schema after `migrate`, whose revisions cannot be"
        f" read: {own.why}."
    )
    fix = CONSENT_UNKNOWN.format(automatic=automatic)
    _require_consent(release, reason, fix, consent=consent)


def _require_consent(release: Release, reason: str, fix: str, *, consent: bool) -> None:
    """Raise RefusedError without consent; with consent, dump the database."""
    if not consent:
        raise RefusedError(f"{reason} {fix}")
    if release.app.parameters.database == "local":
        log(f"Dumped the database to {_dump(release)}")
    log(f"Automatic rollback is disabled: {reason}")


def _dump(release: Release) -> Path:
    """Dump the database, and keep the newest dumps. Dumps of earlier attempts at this release stay
    too: they may contain data that a failed migration has dropped."""
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
    unit, timeout = release.migration, release.app.parameters.migrate_timeout
    log(
        f"Running `migrate` for at most {timeout} s (`migrate_timeout`). Follow its log:"
        f" journalctl -fu {unit}"
    )
    cursor = systemd.cursor()
    try:
        systemd.systemctl("start", unit, timeout=None)  # the unit has a timeout
    except ReleaseError as error:
        # By the unit: journald may not know the invocation of a process that ended at once.
        journal = systemd.journal(unit, after=cursor)
        is_late = systemd.show(unit, "Result").get("Result") == "timeout"
        systemd.systemctl("reset-failed", unit)
        raise ReleaseError(_failure(release.app, journal, is_late=is_late)) from error
    faults.point("migrated")


def _failure(app: App, log: str, *, is_late: bool) -> str:
    steps = re.findall(r"Running upgrade .*?-> ([^\s,]+)", log)
    what = "The migration failed"
    if is_late:
        what = (
            f"The migration was stopped after {app.parameters.migrate_timeout} s"
            " (`migrate_timeout`)"
        )
    what += f" at revision {plain(steps[-1], 60)}" if steps else ""
    with suppress(ReleaseError):
        what += f".\nThe database is at {_named(database_heads(app)) or 'no revision'}"
    if is_late:
        what += ".\nRaise `migrate_timeout`, or move the slow part out of the migration"
    return f"{what}.\n{last_lines(log)}"
