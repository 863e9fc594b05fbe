"""The steps of deploy, rollback, restart and recover, in order."""

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
    pause,
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

GRACE = 30  # seconds for a stopped migration to exit


def deploy(app: App, digest: str, *, consent: bool) -> None:
    """Release an archive with the current configuration.

    Raises ReleaseError if it fails; the previous release then still serves, or serves again.
    """
    install_credentials = credentials.take()
    identity.check_unique(app, digest)
    recover(app, replacing=True)
    before = app.live()
    release = _intact_release(app, digest, before)
    if release == before:
        integrity.sweep(app)
        log(f"Release {release} is live already")
        return
    integrity.set_aside(app)
    # If the twin of an interrupted restart is live, this completes that restart.
    what = "restart" if before and release == identity.original(before) else "deploy"
    with _recorded(what, release, before):
        # Before the build, as old releases could be what fills the disk.
        needed = {release.id, (before or release).id, *timers.running(app)}
        history.prune(app, app.parameters.keep_releases, needed, digest)
        faults.point("pruned")
        _check_memory(release, before)
        is_new = not release.folder.exists()
        build(release, digest, install_credentials)
        if is_new:
            _check_unchanged(release, digest)
        variables = {"RELEASE": str(release), "BEFORE": str(before or "")}
        hooks.run(app, hooks.BEFORE, release=release, **variables)
        can_roll_back = migrations.migrate(release, before, consent=consent)
        was_altered = before and integrity.altered(before)
        switch(release, can_roll_back=can_roll_back)
        if was_altered:  # a rollback to it would not restore what was built
            history.record(
                app, what="integrity check", release=str(before), before="", result="altered"
            )
    retire(app)
    integrity.sweep(app)


def rollback(app: App, name: str | None, *, force: bool) -> None:
    """Roll back to an earlier release, with the same health checks as a deploy.

    Raises RefusedError if its files were altered or the database has later revisions, unless
    forced.
    """
    recover(app, replacing=True)
    before = app.live()
    healthy = history.healthy(app)
    if name:
        target: str | None = name
    elif before:
        target = history.previous(app, identity.original(before).id)
    else:  # the live release is missing, or none was ever live
        target = next(iter(healthy), None)
    if target not in healthy:
        kept = ", ".join(each for each in healthy if each != str(before))
        none = f"No release was live before {before}" if before else "No release was ever live"
        problem = f"Release {name} is not available" if name else none
        raise RefusedError(f"{problem}. Releases to roll back to: {kept or 'none'}.")
    release = app.release(target)
    if release == before:
        raise RefusedError(f"Release {release} is live already.")
    if not force:
        _check_unaltered(release)
        migrations.check_rollback(release, before)
    with _recorded("rollback", release, before):
        if not force:
            _check_memory(release, before)
        switch(release, can_roll_back=True, patient=True)
    retire(app)
    if before and not lock.HOLD.exists():
        log(
            f"The next deploy of the same code makes {identity.original(before)} live again. To"
            ' block deploys, nightly ones too, until it is fixed: fab hold "why"'
            ' (here: onebox-release hold "why")'
        )


def restart(app: App) -> None:
    """Restart the live release without failed requests: switch to its twin and back.

    If interrupted in between, the twin serves; the next restart or deploy continues from there.
    """
    recover(app)
    before = app.live()
    if before is None:
        raise RefusedError(f"No release of {app.name} is live. Deploy first.")
    # Not watched: it is the same code, so a rollback would not help.
    release = app.with_parameters(watch=0).release(identity.original(before).id)
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
    """Start the live release, and stop all others; remove half-built folders, and add the history
    entry of a release that went live without one.

    Raises ReleaseError if the live release cannot be started, unless a deploy is `replacing` it.
    A paused release that is being replaced is not started: it may have been paused because it is
    compromised.
    """
    release = app.live()
    if release and not (replacing and pause.is_paused(app)):
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
        # Killed after the switch, or during the watch: it is live without a full watch.
        name, earlier = identity.original(release).id, next(iter(history.healthy(app)), "")
        unknown = {"what": "deploy", "release": name, "before": earlier}
        entry = history.begun(app, name) or unknown
        history.record(app, **entry, result=history.SUCCEEDED)
    app.begun.unlink(missing_ok=True)


def _is_unrecorded(release: Release) -> bool:
    """Check whether the history lacks that the live release went live: the last one that did is
    another. A failed deploy whose release stays live for lack of another has an entry; it gets
    this one once its processes keep running."""
    name, entries = identity.original(release).id, history.read(release.app)
    live = [entry["release"] for entry in entries if entry["result"] == history.SUCCEEDED]
    if live[-1:] == [name]:
        return False
    last = next((entry for entry in reversed(entries) if entry["release"] == name), {})
    if last.get("serves") != name:
        return True
    units = release_units.services(release)
    return not any(unit_states.keeps_crashing(unit) for unit in units)


def _intact_release(app: App, digest: str, before: Release | None) -> Release:
    """Return the release of an archive; with a new id if the existing one was altered or runs with
    differences. It cannot be repaired while it serves."""
    release = identity.release_of(app, digest)
    if release == before and pause.is_paused(app):  # `recover` did not start it
        systemd.systemctl("start", "--no-block", release.target)
    found = integrity.altered(release)
    if not found and release == before:
        found = integrity.runtime_differences(release)
    if not found and release == before and (why := starting.problem_after_start(release)):
        found = [(f"release {release}", f"does not serve: {why}")]
    if found:
        log("Rebuilding the release: " + " ".join(found[0]))
        environment = any("/venv/" in path for path, _ in found)
        if environment:
            forget_packages(app)  # the cache may share files with it
        identity.renew(app, environment=environment)
    return identity.release_of(app, digest)


def _check_unchanged(release: Release, digest: str) -> None:
    """Raise ReleaseError if the app's configuration changed during the build, and forget that
    release: a full deploy installs files meanwhile, and the release may contain a mix."""
    if identity.release_of(release.app, digest) == release:
        return
    history.forget(release)
    raise ReleaseError(
        f"The configuration of {release.app.name} changed during the build. Deploy again."
    )


def _check_memory(release: Release, before: Release | None) -> None:
    """Raise RefusedError unless there is memory for a release beside the live one.

    The need is the release's own memory when it last went live; for a new release, that of the live
    one. A live release that leaks has grown, so its memory when it went live counts if it is less.
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
    """Record the result in the history and run its hook; on failure, add which release serves."""
    app = release.app
    entry = {"what": what, "release": release.id, "before": _name(before), "who": requester()}
    start = time.monotonic()
    history.begin(app, entry)
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, ReleaseError) else ReleaseError(describe(error))
        why = short(str(known))
        took = round(time.monotonic() - start, 1)
        serves = _name(app.live())
        history.record(app, **entry, result=known.result, why=why, seconds=took, serves=serves)
        app.begun.unlink(missing_ok=True)
        _run_hook(app, entry, known.result, why)
        raise type(known)(f"{known}\n{_what_serves(what, release)}") from error
    memory = resources.memory_of(release_units.services(release))
    took = round(time.monotonic() - start, 1)
    history.record(app, **entry, result=history.SUCCEEDED, seconds=took, memory=memory)
    app.begun.unlink(missing_ok=True)
    faults.point("recorded")
    _run_hook(app, entry, history.SUCCEEDED)


def _name(release: Release | None) -> str:
    """Return the id of a release, without the twin's suffix; "" for None."""
    return identity.original(release).id if release else ""


def _run_hook(app: App, entry: dict[str, str], result: str, why: str = "") -> None:
    """Run the hook for a result, in the live release."""
    event = hooks.EVENTS[result]
    if result == history.SUCCEEDED and entry["what"] == "rollback":
        event = "rollback"
    variables = {
        "RELEASE": entry["release"],
        "BEFORE": entry["before"],
        "RESULT": result,
        "WHY": why,
    }
    hooks.run(app, event, release=app.live(), **variables)


def _check_unaltered(release: Release) -> None:
    """Raise RefusedError if a release to roll back to was altered since its build."""
    if found := integrity.altered(release):
        lines = "\n".join(f"  {what} {how}" for what, how in found[:10])
        raise RefusedError(
            f"Release {release} was altered since it was built:\n{lines}\n"
            "Roll back to another release, deploy its code again, or roll back anyway with --force."
        )


def _what_serves(what: str, release: Release) -> str:
    """Return which release serves after a failure, and the fix."""
    serving = release.app.live()
    fix = " Fix the app and deploy again." if what == "deploy" else ""
    if serving == release:
        return f"Release {serving} serves.{fix}"
    if serving:
        return f"Release {serving} still serves.{fix}"
    return f"No release serves: there is no previous one.{fix}"
