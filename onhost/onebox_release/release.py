"""What a person or a deploy asks for: deploy, rollback, recover. The order of it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import database, faults, history, identity, resources, systemd
from .build import archive_size, build, environments
from .errors import RefusedError, ReleaseError
from .parameters import Parameters
from .places import Places
from .report import say
from .switch import live, retire, switch


def deploy(places: Places, parameters: Parameters, digest: str, *, consent: bool) -> None:
    """Make an archive, with today's configuration, the live release.

    Raises ReleaseError where that fails; what served before still does, or does again.
    """
    recover(places, parameters)
    before = live(places)
    release = identity.release_id(digest, places, parameters.processes)
    if release == before:
        say(f"Release {release} is live already")
        return
    with _recorded(places, parameters, "deploy", release, before):
        resources.check_disk(
            places,
            archive_size(places, digest),
            environment=not environments(places),
        )
        _check_memory(places, before)
        build(places, parameters, digest, release)
        can_go_back = database.migrate(places, parameters, release, before, consent=consent)
        switch(places, parameters, release, can_go_back=can_go_back)
    retire(places, parameters, keep=release)


def rollback(places: Places, parameters: Parameters, release: str | None, *, force: bool) -> None:
    """Go back to an earlier release, by the same gate.

    Raises RefusedError where the database has moved on without it, unless forced.
    """
    recover(places, parameters)
    before = live(places)
    release = release or history.previous(places, before)
    if release is None or release not in history.healthy(places):
        kept = ", ".join(name for name in history.healthy(places) if name != before)
        raise RefusedError(f"There is no such release to go back to. There are: {kept or 'none'}.")
    if release == before:
        raise RefusedError(f"Release {release} is live already.")
    if parameters.migrates and not force:
        database.check_readable(places, release, database.at(places, parameters, release))
    with _recorded(places, parameters, "rollback", release, before):
        _check_memory(places, before)
        switch(places, parameters, release, can_go_back=True)
    retire(places, parameters, keep=release)


def recover(places: Places, parameters: Parameters) -> None:
    """Bring the server to what `current` says: that release up, and every other one down."""
    release = live(places)
    if release and not systemd.is_active(places.target(release)):
        systemd.systemctl("start", "--no-block", places.target(release))
    retire(places, parameters, keep=release)
    if release and release not in history.healthy(places):
        history.record(places, what="recover", release=release, before="", result="live")


def _check_memory(places: Places, before: str | None) -> None:
    """See whether there is memory for as much again as the live release takes."""
    if before:
        resources.check_memory(resources.memory_of(places.process("web", before)))


@contextmanager
def _recorded(
    places: Places, parameters: Parameters, what: str, release: str, before: str | None
) -> Iterator[None]:
    """Write to the history what came of it, throw away what nobody needs any more, and on
    failure say what serves now."""
    entry = {"what": what, "release": release, "before": before or ""}
    start = time.monotonic()
    try:
        yield
    except (ReleaseError, OSError) as error:
        took = round(time.monotonic() - start, 1)
        history.record(places, **entry, result="failed", why=str(error), seconds=took)
        with suppress(OSError):
            history.prune(places, parameters.keep_releases, live(places))
        kind = type(error) if isinstance(error, ReleaseError) else ReleaseError
        raise kind(f"{error}\n{_now(places)}") from error
    history.record(places, **entry, result="live", seconds=round(time.monotonic() - start, 1))
    faults.point("recorded")
    history.prune(places, parameters.keep_releases, live(places))
    faults.point("pruned")


def _now(places: Places) -> str:
    serving = live(places)
    return (
        f"Release {serving} serves, as before. Mend the app and deploy again."
        if serving
        else "Nothing serves: there was no release before. Mend the app and deploy again."
    )
