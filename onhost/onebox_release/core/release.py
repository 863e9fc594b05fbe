"""What a person or a deploy asks for: deploy, rollback, recover. The order of it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from onebox_release import faults
from onebox_release.app import App, Release
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
from onebox_release.core.requester import requester
from onebox_release.core.switch import retire, stop_exclusive, switch
from onebox_release.errors import RefusedError, ReleaseError, describe
from onebox_release.host import lock, resources, systemd
from onebox_release.install import credentials
from onebox_release.report import log, short

GRACE = 30  # seconds in which a migration that was stopped has ended


def deploy(app: App, digest: str, *, consent: bool) -> None:
    """Make an archive, with today's configuration, the live release.

    Raises ReleaseError where that fails; what served before still does, or does again.
    """
    given = credentials.take()
    identity.check_unique(app, digest)
    recover(app, replacing=True)
    before = app.live()
    release = _intact_release(app, digest, before)
    if release == before:
        integrity.sweep(app)
        log(f"Release {release} is live already")
        return
    integrity.set_aside(app)
    # Where the twin of a restart that died still serves, this is the rest of that restart.
    what = "restart" if before and release == identity.original(before) else "deploy"
    with _recorded(what, release, before):
        # Now, because what earlier ones left could be what fills the disk.
        needed = {release.id, (before or release).id, *timers.running(app)}
        history.prune(app, app.parameters.keep_releases, needed, digest)
        faults.point("pruned")
        _check_memory(release, before)
        is_new = not release.folder.exists()
        build(release, digest, given)
        if is_new:
            _check_unchanged(release, digest)
        told = {"RELEASE": str(release), "BEFORE": str(before or "")}
        hooks.run(app, hooks.BEFORE, within=release, **told)
        can_roll_back = migrations.migrate(release, before, consent=consent)
        was_altered = before and integrity.altered(before)
        switch(release, can_roll_back=can_roll_back)
        if was_altered:  # it is nothing to roll back to
            history.record(app, what="verify", release=str(before), before="", result="altered")
    retire(app)
    integrity.sweep(app)


def rollback(app: App, name: str | None, *, force: bool) -> None:
    """Go back to an earlier release, by the same gate.

    Raises RefusedError where its files were altered, or the database has moved on without it,
    unless forced.
    """
    recover(app, replacing=True)
    before = app.live()
    healthy = history.healthy(app)
    if name:
        target: str | None = name
    elif before:
        target = history.previous(app, identity.original(before).id)
    else:  # what `current` points to is missing, or nothing was ever live
        target = next(iter(healthy), None)
    if target not in healthy:
        kept = ", ".join(each for each in healthy if each != str(before))
        nothing = f"Nothing was live before {before}" if before else "No release has been live"
        what = "There is no such release" if name else nothing
        raise RefusedError(f"{what}. These are kept, to be named: {kept or 'none'}.")
    release = app.release(target)
    if release == before:
        raise RefusedError(f"Release {release} is live already.")
    if not force:
        _check_whole(release)
        migrations.check_rollback(release, before)
    with _recorded("rollback", release, before):
        if not force:
            _check_memory(release, before)
        switch(release, can_roll_back=True, patient=True)
    retire(app)
    if before and not lock.HOLD.exists():
        log(
            f"The next deploy of the same code brings {identity.original(before)} again, a nightly"
            ' one too. To block deploys until it is fixed: fab hold "why"'
            ' (here: onebox-release hold "why")'
        )


def restart(app: App) -> None:
    """Start the live release anew, with no request failed: switch to its twin, and back.

    A death in between leaves the twin serving; the next restart or deploy goes on from there.
    """
    recover(app)
    before = app.live()
    if before is None:
        raise RefusedError(f"No release of {app.name} is live. Deploy first.")
    # Not watched: it is the same code, and there is nothing better to roll back to.
    release = app.having(watch=0).release(identity.original(before).id)
    with _recorded("restart", release, before):
        _check_memory(release, before)
        hops = [twin.create(release), release] if before == release else [release]
        try:
            for hop in hops:
                switch(hop, can_roll_back=True, patient=True)
                retire(app)
        finally:
            if app.live() == release:
                twin.remove(release)


def recover(app: App, *, replacing: bool = False) -> None:
    """Bring the server to what `current` says: that release up, and every other one down.

    Raises ReleaseError where the release can't be started, unless another one is `replacing` it.
    """
    release = app.live()
    if release:
        try:
            stop_exclusive(release)
            systemd.systemctl("start", "--no-block", release.target)
        except ReleaseError as error:
            if not replacing:
                raise
            log(f"The live release could not be started: {error}")
    patience = app.parameters.migrate_timeout + GRACE
    systemd.wait_until_inactive(f"{app.name}-migrate@*.service", patience)
    retire(app)
    sweep(app)
    if release and _is_unrecorded(release):
        # A deploy died between its switch and its last word.
        earlier = next(iter(history.healthy(app)), "")
        history.record(
            app,
            what="deploy",
            release=identity.original(release).id,
            before=earlier,
            result="live",
        )


def _is_unrecorded(release: Release) -> bool:
    """Check whether the history misses that a release went live. One whose deploy failed, and
    that stays live for want of another, has its line, and holds once its processes run."""
    name = identity.original(release).id
    if name in history.healthy(release.app):
        return False
    entries = reversed(history.read(release.app))
    last = next((entry for entry in entries if entry["release"] == name), {})
    if last.get("serves") != name:
        return True
    units = release_units.services(release)
    return not any(unit_states.keeps_crashing(unit) for unit in units)


def _intact_release(app: App, digest: str, before: Release | None) -> Release:
    """Return the release that an archive becomes: another one, if the one that it became was
    altered since, or runs otherwise than described. It can't be mended while it serves."""
    release = identity.release_of(app, digest)
    found = integrity.altered(release)
    if not found and release == before:
        found = integrity.runtime_differences(release)
    if not found and release == before and (why := starting.problem_after_start(release)):
        found = [(f"release {release}", f"does not serve: {why}")]
    if found:
        log("Rebuilding the release: " + " ".join(found[0]))
        environment = any("/venv/" in path for path, _ in found)
        if environment:
            forget_packages(app)  # they may share their files with it
        identity.renew(app, environment=environment)
    return identity.release_of(app, digest)


def _check_unchanged(release: Release, digest: str) -> None:
    """Raise ReleaseError where the app's configuration changed while a release was made of it, and
    forget that release: a whole deploy places files meanwhile, and it may have some of each."""
    if identity.release_of(release.app, digest) == release:
        return
    history.forget(release)
    raise ReleaseError(
        f"The configuration of {release.app.name} changed while the release was made. Deploy again."
    )


def _check_memory(release: Release, before: Release | None) -> None:
    """See whether there is memory for a release beside the live one: for what it took itself when
    it was live, or else for as much as the live one takes. One that leaks takes more than its
    successor will: what it took at first counts.
    """
    if not before:
        return
    now = resources.memory_of(release_units.services(before))
    needed = history.memory(release)
    if needed is None:
        needed = min(now, history.memory(identity.original(before)) or now)
    resources.check_memory(needed)
    resources.check_limit(release.app, now + needed)


@contextmanager
def _recorded(what: str, release: Release, before: Release | None) -> Iterator[None]:
    """Write to the history what came of it, and run its hook; on failure, say what serves now."""
    app = release.app
    entry = {"what": what, "release": release.id, "before": _name(before), "who": requester()}
    start = time.monotonic()
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, ReleaseError) else ReleaseError(describe(error))
        why = short(str(known))
        took = round(time.monotonic() - start, 1)
        serves = _name(app.live())
        history.record(app, **entry, result=known.result, why=why, seconds=took, serves=serves)
        _hook(app, entry, known.result, why)
        raise type(known)(f"{known}\n{_now(what, release)}") from error
    memory = resources.memory_of(release_units.services(release))
    took = round(time.monotonic() - start, 1)
    history.record(app, **entry, result="live", seconds=took, memory=memory)
    faults.point("recorded")
    _hook(app, entry, "live")


def _name(release: Release | None) -> str:
    """Return the id of a release, or of that which it stands in for; nothing for none."""
    return identity.original(release).id if release else ""


def _hook(app: App, entry: dict[str, str], result: str, why: str = "") -> None:
    """Run the hook of what came of it, in the release that serves now."""
    event = hooks.EVENTS[result]
    if result == "live" and entry["what"] == "rollback":
        event = "rollback"
    told = {"RELEASE": entry["release"], "BEFORE": entry["before"], "RESULT": result, "WHY": why}
    hooks.run(app, event, within=app.live(), **told)


def _check_whole(release: Release) -> None:
    """Raise RefusedError where a kept release is not what was built: nobody would notice."""
    if found := integrity.altered(release):
        told = "\n".join(f"  {what} {how}" for what, how in found[:10])
        raise RefusedError(
            f"Release {release} was altered since it was built:\n{told}\n"
            "Roll back to another one, or deploy its code again. To serve it anyway: --force."
        )


def _now(what: str, release: Release) -> str:
    """Say what serves after a failure, and what to do about it."""
    serving = release.app.live()
    fix = " Fix the app and deploy again." if what == "deploy" else ""
    if serving == release:
        return f"Release {serving} serves.{fix}"
    if serving:
        return f"Release {serving} serves, as before.{fix}"
    return f"Nothing serves: there is no previous release.{fix}"
