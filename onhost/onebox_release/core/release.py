"""What a person or a deploy asks for: deploy, rollback, recover. The order of it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from onebox_release import faults
from onebox_release.app import App
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
from onebox_release.report import say, short

GRACE = 30  # seconds in which a migration that was stopped has ended


def deploy(app: App, digest: str, *, consent: bool) -> None:
    """Make an archive, with today's configuration, the live release.

    Raises ReleaseError where that fails; what served before still does, or does again.
    """
    given = credentials.take()
    identity.check_unique(app, digest)
    recover(app, replacing=True)
    before = live(app)
    release = _sound(app, digest, before)
    if release == before:
        integrity.sweep(app)
        say(f"Release {release} is live already")
        return
    integrity.set_aside(app)
    # Where the twin of a restart that died still serves, this is the rest of that restart.
    what = "restart" if before and release == identity.original(before) else "deploy"
    with _recorded(app, what, release, before):
        # Now, because what earlier ones left could be what fills the disk.
        needed = {release, before or release, *timers.running(app)}
        history.prune(app, app.parameters.keep_releases, needed, digest)
        faults.point("pruned")
        _check_memory(app, release, before)
        is_new = not app.release(release).exists()
        build(app, digest, release, given)
        if is_new:
            _check_unchanged(app, digest, release)
        told = {"RELEASE": release, "BEFORE": before or ""}
        hooks.run(app, hooks.BEFORE, within=release, **told)
        can_go_back = migrations.migrate(app, release, before, consent=consent)
        spoilt = before and integrity.altered(app, before)
        switch(app, release, can_go_back=can_go_back)
        if spoilt:  # it is nothing to go back to
            history.record(app, what="verify", release=before, before="", result="altered")
    retire(app)
    integrity.sweep(app)


def rollback(app: App, release: str | None, *, force: bool) -> None:
    """Go back to an earlier release, by the same gate.

    Raises RefusedError where its files were altered, or the database has moved on without it,
    unless forced.
    """
    recover(app, replacing=True)
    before = live(app)
    named = release is not None
    if before:
        release = release or history.previous(app, identity.original(before))
    else:  # what `current` points to is missing, or nothing was ever live
        release = release or next(iter(history.healthy(app)), None)
    if release is None or release not in history.healthy(app):
        kept = ", ".join(name for name in history.healthy(app) if name != before)
        nothing = f"Nothing was live before {before}" if before else "No release has been live"
        what = "There is no such release" if named else nothing
        raise RefusedError(f"{what}. These are kept, to be named: {kept or 'none'}.")
    if release == before:
        raise RefusedError(f"Release {release} is live already.")
    if not force:
        _check_whole(app, release)
        migrations.check_back(app, release, before)
    with _recorded(app, "rollback", release, before):
        if not force:
            _check_memory(app, release, before)
        switch(app, release, can_go_back=True, patient=True)
    retire(app)
    if before and not lock.HOLD.exists():
        say(
            f"The next deploy of the same code brings {identity.original(before)} again, a nightly"
            ' one too. To keep deploys away until it is mended: fab hold "why"'
            ' (here: onebox-release hold "why")'
        )


def restart(app: App) -> None:
    """Start the live release anew, with no request failed: switch to its twin, and back.

    A death in between leaves the twin serving; the next restart or deploy goes on from there.
    """
    recover(app)
    before = live(app)
    if before is None:
        raise RefusedError(f"No release of {app.name} is live. Deploy first.")
    release = identity.original(before)
    unwatched = app.having(watch=0)  # the same code: nothing better to go back to
    with _recorded(app, "restart", release, before):
        _check_memory(app, release, before)
        hops = [twin.make(app, release), release] if before == release else [release]
        try:
            for hop in hops:
                switch(unwatched, hop, can_go_back=True, patient=True)
                retire(app)
        finally:
            if live(app) == release:
                twin.remove(app, release)


def recover(app: App, *, replacing: bool = False) -> None:
    """Bring the server to what `current` says: that release up, and every other one down.

    Raises ReleaseError where the release can't be started, unless another one is `replacing` it.
    """
    release = live(app)
    if release:
        try:
            make_way(app, release)
            systemd.systemctl("start", "--no-block", app.target(release))
        except ReleaseError as error:
            if not replacing:
                raise
            say(f"The live release could not be started: {error}")
    patience = app.parameters.migrate_timeout + GRACE
    systemd.wait_until_inactive(f"{app.name}-migrate@*.service", patience)
    retire(app)
    sweep(app)
    if release and _is_unrecorded(app, release):
        # A deploy died between its switch and its last word.
        earlier = next(iter(history.healthy(app)), "")
        history.record(
            app,
            what="deploy",
            release=identity.original(release),
            before=earlier,
            result="live",
        )


def _is_unrecorded(app: App, release: str) -> bool:
    """Check whether the history misses that a release went live. One whose deploy failed, and
    that stays live for want of another, has its line, and holds once its processes run."""
    name = identity.original(release)
    if name in history.healthy(app):
        return False
    last = next((entry for entry in reversed(history.read(app)) if entry["release"] == name), {})
    if last.get("serves") != name:
        return True
    units = release_units.services(app, release)
    return not any(unit_states.keeps_crashing(unit) for unit in units)


def _sound(app: App, digest: str, before: str | None) -> str:
    """Return the release that an archive becomes: another one, if the one that it became was
    altered since, or runs otherwise than described. It can't be mended while it serves."""
    release = identity.release_id(digest, app, app.parameters.processes)
    found = integrity.altered(app, release)
    if not found and release == before:
        found = integrity.unlike(app, release)
    if not found and release == before and (why := starting.revived(app, release)):
        found = [(f"release {release}", f"does not serve: {why}")]
    if found:
        say("Making the release anew: " + " ".join(found[0]))
        environment = any("/venv/" in path for path, _ in found)
        if environment:
            forget_packages(app)  # they may share their files with it
        identity.renew(app, environment=environment)
    return identity.release_id(digest, app, app.parameters.processes)


def _check_unchanged(app: App, digest: str, release: str) -> None:
    """Raise ReleaseError where the app's configuration changed while a release was made of it, and
    forget that release: a whole deploy places files meanwhile, and it may have some of each."""
    if identity.release_id(digest, app, app.parameters.processes) == release:
        return
    history.forget(app, release)
    raise ReleaseError(
        f"The configuration of {app.name} changed while the release was made. Deploy again."
    )


def _check_memory(app: App, release: str, before: str | None) -> None:
    """See whether there is memory for a release beside the live one: for what it took itself when
    it was live, or else for as much as the live one takes. One that leaks takes more than its
    successor will: what it took at first counts.
    """
    if not before:
        return
    now = resources.memory_of(release_units.services(app, before))
    needed = history.memory(app, release)
    if needed is None:
        needed = min(now, history.memory(app, identity.original(before)) or now)
    resources.check_memory(needed)
    resources.check_limit(app, now + needed)


@contextmanager
def _recorded(app: App, what: str, release: str, before: str | None) -> Iterator[None]:
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
        serves = identity.original(live(app) or "")
        history.record(app, **entry, result=known.result, why=why, seconds=took, serves=serves)
        _hook(app, entry, known.result, why)
        raise type(known)(f"{known}\n{_now(app, what, release)}") from error
    memory = resources.memory_of(release_units.services(app, release))
    took = round(time.monotonic() - start, 1)
    history.record(app, **entry, result="live", seconds=took, memory=memory)
    faults.point("recorded")
    _hook(app, entry, "live")


def _hook(app: App, entry: dict[str, str], result: str, why: str = "") -> None:
    """Run the hook of what came of it, in the release that serves now."""
    event = hooks.EVENTS[result]
    if result == "live" and entry["what"] == "rollback":
        event = "rollback"
    told = {"RELEASE": entry["release"], "BEFORE": entry["before"], "RESULT": result, "WHY": why}
    hooks.run(app, event, within=live(app), **told)


def _worded(error: Exception) -> str:
    return f"The server's system refused: {error}" if isinstance(error, OSError) else repr(error)


def _check_whole(app: App, release: str) -> None:
    """Raise RefusedError where a kept release is not what was built: nobody would notice."""
    if found := integrity.altered(app, release):
        told = "\n".join(f"  {what} {how}" for what, how in found[:10])
        raise RefusedError(
            f"Release {release} is not as it was made:\n{told}\n"
            "Go back to another, or deploy its code again. To serve it as it is: --force."
        )


def _now(app: App, what: str, release: str) -> str:
    """Say what serves after a failure, and what to do about it."""
    serving = live(app)
    fix = " Fix the app and deploy again." if what == "deploy" else ""
    if serving == release:
        return f"Release {serving} serves.{fix}"
    if serving:
        return f"Release {serving} serves, as before.{fix}"
    return f"Nothing serves: there was no release before.{fix}"
