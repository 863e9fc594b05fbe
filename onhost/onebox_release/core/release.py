"""What a person or a deploy asks for: deploy, rollback, recover. The order of it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from onebox_release import faults
from onebox_release.core import (
    history,
    hooks,
    identity,
    integrity,
    migrations,
    release_units,
    starting,
    timers,
    twin,
    unit_states,
)
from onebox_release.core.build import build, forget_packages, sweep
from onebox_release.core.requester import who
from onebox_release.core.switch import live, make_way, retire, switch
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import lock, resources, systemd
from onebox_release.install import credentials
from onebox_release.parameters import Parameters
from onebox_release.paths import Places
from onebox_release.report import say, short

GRACE = 30  # seconds in which a migration that was stopped has ended


def deploy(places: Places, parameters: Parameters, digest: str, *, consent: bool) -> None:
    """Make an archive, with today's configuration, the live release.

    Raises ReleaseError where that fails; what served before still does, or does again.
    """
    given = credentials.take()
    identity.check_unique(places, digest)
    recover(places, parameters, replacing=True)
    before = live(places)
    release = _sound(places, parameters, digest, before)
    if release == before:
        integrity.sweep(places, parameters)
        say(f"Release {release} is live already")
        return
    integrity.set_aside(places, parameters)
    # Where the twin of a restart that died still serves, this is the rest of that restart.
    what = "restart" if before and release == identity.original(before) else "deploy"
    with _recorded(places, parameters, what, release, before):
        # Now, because what earlier ones left could be what fills the disk.
        needed = {release, before or release, *timers.running(places, parameters)}
        history.prune(places, parameters.keep_releases, needed, digest)
        faults.point("pruned")
        _check_memory(places, parameters, release, before)
        is_new = not places.release(release).exists()
        build(places, parameters, digest, release, given)
        if is_new:
            _check_unchanged(places, parameters, digest, release)
        told = {"RELEASE": release, "BEFORE": before or ""}
        hooks.run(places, parameters, hooks.BEFORE, within=release, **told)
        can_go_back = migrations.migrate(places, parameters, release, before, consent=consent)
        spoilt = before and integrity.altered(places, before)
        switch(places, parameters, release, can_go_back=can_go_back)
        if spoilt:  # it is nothing to go back to
            history.record(places, what="verify", release=before, before="", result="altered")
    retire(places, parameters)
    integrity.sweep(places, parameters)


def rollback(places: Places, parameters: Parameters, release: str | None, *, force: bool) -> None:
    """Go back to an earlier release, by the same gate.

    Raises RefusedError where its files were altered, or the database has moved on without it,
    unless forced.
    """
    recover(places, parameters, replacing=True)
    before = live(places)
    named = release is not None
    if before:
        release = release or history.previous(places, identity.original(before))
    else:  # what `current` points to is missing, or nothing was ever live
        release = release or next(iter(history.healthy(places)), None)
    if release is None or release not in history.healthy(places):
        kept = ", ".join(name for name in history.healthy(places) if name != before)
        nothing = f"Nothing was live before {before}" if before else "No release has been live"
        what = "There is no such release" if named else nothing
        raise RefusedError(f"{what}. These are kept, to be named: {kept or 'none'}.")
    if release == before:
        raise RefusedError(f"Release {release} is live already.")
    if not force:
        _check_whole(places, release)
        migrations.check_back(places, parameters, release, before)
    with _recorded(places, parameters, "rollback", release, before):
        if not force:
            _check_memory(places, parameters, release, before)
        switch(places, parameters, release, can_go_back=True, patient=True)
    retire(places, parameters)
    if before and not lock.HOLD.exists():
        say(
            f"The next deploy of the same code brings {identity.original(before)} again, a nightly"
            ' one too. To keep deploys away until it is mended: fab hold "why"'
            ' (here: onebox-release hold "why")'
        )


def restart(places: Places, parameters: Parameters) -> None:
    """Start the live release anew, with no request failed: switch to its twin, and back.

    A death in between leaves the twin serving; the next restart or deploy goes on from there.
    """
    recover(places, parameters)
    before = live(places)
    if before is None:
        raise RefusedError(f"No release of {places.app} is live. Deploy first.")
    release = identity.original(before)
    unwatched = replace(parameters, watch=0)  # the same code: nothing better to go back to
    with _recorded(places, parameters, "restart", release, before):
        _check_memory(places, parameters, release, before)
        hops = [twin.make(places, release), release] if before == release else [release]
        try:
            for hop in hops:
                switch(places, unwatched, hop, can_go_back=True, patient=True)
                retire(places, parameters)
        finally:
            if live(places) == release:
                twin.remove(places, release)


def recover(places: Places, parameters: Parameters, *, replacing: bool = False) -> None:
    """Bring the server to what `current` says: that release up, and every other one down.

    Raises ReleaseError where the release can't be started, unless another one is `replacing` it.
    """
    release = live(places)
    if release:
        try:
            make_way(places, parameters, release)
            systemd.systemctl("start", "--no-block", places.target(release))
        except ReleaseError as error:
            if not replacing:
                raise
            say(f"The live release could not be started: {error}")
    patience = parameters.migrate_timeout + GRACE
    systemd.wait_until_inactive(f"{places.app}-migrate@*.service", patience)
    retire(places, parameters)
    sweep(places)
    if release and _is_unrecorded(places, parameters, release):
        # A deploy died between its switch and its last word.
        earlier = next(iter(history.healthy(places)), "")
        history.record(
            places,
            what="deploy",
            release=identity.original(release),
            before=earlier,
            result="live",
        )


def _is_unrecorded(places: Places, parameters: Parameters, release: str) -> bool:
    """Check whether the history misses that a release went live. One whose deploy failed, and
    that stays live for want of another, has its line, and holds once its processes run."""
    name = identity.original(release)
    if name in history.healthy(places):
        return False
    last = next((entry for entry in reversed(history.read(places)) if entry["release"] == name), {})
    if last.get("serves") != name:
        return True
    units = release_units.services(places, parameters, release)
    return not any(unit_states.keeps_crashing(unit) for unit in units)


def _sound(places: Places, parameters: Parameters, digest: str, before: str | None) -> str:
    """Return the release that an archive becomes: another one, if the one that it became was
    altered since, or runs otherwise than described. It can't be mended while it serves."""
    release = identity.release_id(digest, places, parameters.processes)
    found = integrity.altered(places, release)
    if not found and release == before:
        found = integrity.unlike(places, parameters, release)
    if not found and release == before and (why := starting.revived(places, parameters, release)):
        found = [(f"release {release}", f"does not serve: {why}")]
    if found:
        say("Making the release anew: " + " ".join(found[0]))
        environment = any("/venv/" in path for path, _ in found)
        if environment:
            forget_packages(places)  # they may share their files with it
        identity.renew(places, environment=environment)
    return identity.release_id(digest, places, parameters.processes)


def _check_unchanged(places: Places, parameters: Parameters, digest: str, release: str) -> None:
    """Raise ReleaseError where the app's configuration changed while a release was made of it, and
    forget that release: a whole deploy places files meanwhile, and it may have some of each."""
    if identity.release_id(digest, places, parameters.processes) == release:
        return
    history.forget(places, release)
    raise ReleaseError(
        f"The configuration of {places.app} changed while the release was made. Deploy again."
    )


def _check_memory(places: Places, parameters: Parameters, release: str, before: str | None) -> None:
    """See whether there is memory for a release beside the live one: for what it took itself when
    it was live, or else for as much as the live one takes. One that leaks takes more than its
    successor will: what it took at first counts.
    """
    if not before:
        return
    now = resources.memory_of(release_units.services(places, parameters, before))
    needed = history.memory(places, release)
    if needed is None:
        needed = min(now, history.memory(places, identity.original(before)) or now)
    resources.check_memory(needed)
    resources.check_limit(places, now + needed)


@contextmanager
def _recorded(
    places: Places, parameters: Parameters, what: str, release: str, before: str | None
) -> Iterator[None]:
    """Write to the history what came of it, and run its hook; on failure, say what serves now."""
    old = identity.original(before or "")
    entry = {"what": what, "release": release, "before": old, "who": who()}
    start = time.monotonic()
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, ReleaseError) else ReleaseError(_worded(error))
        why = short(str(known))
        took = round(time.monotonic() - start, 1)
        serves = identity.original(live(places) or "")
        history.record(places, **entry, result=known.result, why=why, seconds=took, serves=serves)
        _hook(places, parameters, entry, known.result, why)
        raise type(known)(f"{known}\n{_now(places, what, release)}") from error
    memory = resources.memory_of(release_units.services(places, parameters, release))
    took = round(time.monotonic() - start, 1)
    history.record(places, **entry, result="live", seconds=took, memory=memory)
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


def _check_whole(places: Places, release: str) -> None:
    """Raise RefusedError where a kept release is not what was built: nobody would notice."""
    if found := integrity.altered(places, release):
        told = "\n".join(f"  {what} {how}" for what, how in found[:10])
        raise RefusedError(
            f"Release {release} is not as it was made:\n{told}\n"
            "Go back to another, or deploy its code again. To serve it as it is: --force."
        )


def _now(places: Places, what: str, release: str) -> str:
    """Say what serves after a failure, and what to do about it."""
    serving = live(places)
    fix = " Fix the app and deploy again." if what == "deploy" else ""
    if serving == release:
        return f"Release {serving} serves.{fix}"
    if serving:
        return f"Release {serving} serves, as before.{fix}"
    return f"Nothing serves: there was no release before.{fix}"
