"""What a person or a deploy asks for: deploy, rollback, recover. The order of it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from . import database, faults, history, hooks, identity, jobs, resources, systemd
from .build import build
from .errors import RefusedError, ReleaseError
from .parameters import Parameters
from .places import Places
from .report import say
from .switch import live, retire, switch
from .who import who


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
        # Now, because what earlier ones left could be what fills the disk.
        needed = {release, before or release, *jobs.running(places, parameters)}
        history.prune(places, parameters.keep_releases, needed, digest)
        faults.point("pruned")
        _check_memory(places, parameters, before)
        build(places, parameters, digest, release)
        told = {"RELEASE": release, "BEFORE": before or ""}
        hooks.run(places, parameters, hooks.BEFORE, within=release, **told)
        can_go_back = database.migrate(places, parameters, release, before, consent=consent)
        switch(places, parameters, release, can_go_back=can_go_back)
    retire(places, parameters)


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
    if not force:
        database.check_back(places, parameters, release, before)
    with _recorded(places, parameters, "rollback", release, before):
        _check_memory(places, parameters, before)
        switch(places, parameters, release, can_go_back=True)
    retire(places, parameters)


def recover(places: Places, parameters: Parameters) -> None:
    """Bring the server to what `current` says: that release up, and every other one down."""
    systemd.wait_until_inactive(f"{places.app}-migrate@*.service")
    release = live(places)
    if release:
        systemd.systemctl("start", "--no-block", places.target(release))
    retire(places, parameters)
    if release and release not in history.healthy(places):
        # A deploy died between its switch and its last word.
        earlier = next(iter(history.healthy(places)), "")
        history.record(places, what="deploy", release=release, before=earlier, result="live")


def _check_memory(places: Places, parameters: Parameters, before: str | None) -> None:
    """See whether there is memory for as much again as the live release takes."""
    if before:
        units = (places.process(process, before) for process in ("web", *parameters.processes))
        resources.check_memory(resources.memory_of(units))


@contextmanager
def _recorded(
    places: Places, parameters: Parameters, what: str, release: str, before: str | None
) -> Iterator[None]:
    """Write to the history what came of it, and run its hook; on failure, say what serves now."""
    entry = {"what": what, "release": release, "before": before or "", "who": who()}
    start = time.monotonic()
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, ReleaseError) else ReleaseError(_worded(error))
        took = round(time.monotonic() - start, 1)
        history.record(places, **entry, result=known.result, why=str(known), seconds=took)
        _hook(places, parameters, entry, known.result, str(known))
        raise type(known)(f"{known}\n{_now(places, release)}") from error
    history.record(places, **entry, result="live", seconds=round(time.monotonic() - start, 1))
    faults.point("recorded")
    _hook(places, parameters, entry, "live")


def _hook(
    places: Places, parameters: Parameters, entry: dict[str, str], result: str, why: str = ""
) -> None:
    """Run the hook of what came of it, in the release that serves now."""
    event = hooks.EVENTS[result]
    if result == "live" and entry["what"] == "rollback":
        event = "rollback"
    told = {"RELEASE": entry["release"], "BEFORE": entry["before"], "RESULT": result, "WHY": why}
    hooks.run(places, parameters, event, within=live(places), **told)


def _worded(error: Exception) -> str:
    return f"The server's system refused: {error}" if isinstance(error, OSError) else repr(error)


def _now(places: Places, release: str) -> str:
    serving = live(places)
    if serving == release:
        return f"Release {serving} serves. Mend the app and deploy again."
    if serving:
        return f"Release {serving} serves, as before. Mend the app and deploy again."
    return "Nothing serves: there was no release before. Mend the app and deploy again."
