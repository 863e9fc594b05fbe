"""Deploy, rollback, recover: their order, their history, their words."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from onebox_release import faults
from onebox_release.app import App, Release
from onebox_release.core import (
    history,
    identity,
    integrity,
    migrations,
    release,
    switch,
    twin,
    unit_states,
)
from onebox_release.errors import RefusedError, ReleaseError, RolledBackError
from onebox_release.host import durable, lock, resources

from tests.unit.onhost.fake_server import PARAMETERS, Server, stop_of

Deploy = Callable[..., None]


@pytest.fixture
def steps(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the steps of a deploy do nothing but say that they were taken."""
    taken: list[str] = []

    def step(name: str, result: object = None) -> Callable[..., object]:
        def take(*plain: object, **given: object) -> object:
            words = [str(word) for word in plain if isinstance(word, str | Release)]
            taken.append(" ".join([name, *words, *(f"{k}={v}" for k, v in given.items())]))
            return result

        return take

    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release("new"))
    monkeypatch.setattr(resources, "check_memory", step("memory"))
    monkeypatch.setattr(migrations, "migrate", step("migrate", result=True))
    monkeypatch.setattr(migrations, "check_rollback", step("back"))
    monkeypatch.setattr(faults, "point", step("point"))

    def build(*_: object) -> None:
        taken.append("build")
        if not server.app.release("new").folder.exists():
            server.make("new")

    def switched(to: Release, *, can_roll_back: bool, patient: bool = False) -> None:
        taken.append(f"switch {can_roll_back}" + " patiently" * patient)
        server.up.add(to.id)
        durable.point(server.app.current, f"releases/{to}")

    monkeypatch.setattr(release, "build", build)
    monkeypatch.setattr(release, "switch", switched)
    return taken


def deploy(server: Server, *, consent: bool = False) -> None:
    release.deploy(server.app, "digest", consent=consent)


def rollback(server: Server, to: str | None = None, *, force: bool = False) -> None:
    release.rollback(server.app, to, force=force)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_deploy_takes_its_steps_in_order(server: Server, steps: list[str]) -> None:
    server.make("old", live="old")
    server.remember(("deploy", "old", "succeeded"))
    deploy(server, consent=True)
    assert steps == [
        "point pruned",
        "memory",
        "build",
        "migrate new old consent=True",
        "switch True",
        "point recorded",
        "point retired",
    ]
    assert server.history() == [("deploy", "old", "succeeded"), ("deploy", "new", "succeeded")]
    assert server.up == {"new"}


def test_what_the_old_release_can_not_run_on_reaches_the_switch(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "migrate", lambda *_, **__: False)
    deploy(server)
    assert "switch False" in steps


def test_the_live_release_again_is_nothing_to_do(server: Server, steps: list[str]) -> None:
    server.make("new", live="new")
    server.remember(("deploy", "new", "succeeded"))
    deploy(server)
    assert (steps, server.calls) == ([], ["start --no-block links@new.target"])
    assert server.history() == [("deploy", "new", "succeeded")]


def test_a_deploy_starts_a_paused_release_only_if_it_stays_live(
    server: Server, steps: list[str]
) -> None:
    """It may be paused because it is compromised."""
    server.make("old", live="old")
    server.up = set()
    server.app.paused.touch()
    deploy(server)
    assert "switch True" in steps
    assert "start --no-block links@old.target" not in server.calls
    deploy(server)
    assert "start --no-block links@new.target" in server.calls


def test_a_rollback_does_not_start_a_paused_release(server: Server, steps: list[str]) -> None:
    server.make("old", "new", live="new")
    server.remember(("deploy", "old", "succeeded"), ("deploy", "new", "succeeded"))
    server.app.paused.touch()
    rollback(server)
    assert "switch True patiently" in steps
    assert "start --no-block links@new.target" not in server.calls


@pytest.mark.parametrize("what", ["altered", "runtime_differences"])
def test_an_altered_release_is_rebuilt_and_rolled_back_to_no_more(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    server.make("old", live="old")
    server.remember(("deploy", "old", "succeeded"))
    names = chain(["old"], repeat("new"))
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release(next(names)))
    monkeypatch.setattr(release, "forget_packages", lambda _: steps.append("forget"))
    wrong = {"altered": lambda it: [("/a/venv/x", "is extra")] * (it.id == "old")}
    wrong["runtime_differences"] = lambda *_: [("/x", "overrides our unit")]
    monkeypatch.setattr(integrity, what, wrong[what])
    deploy(server)
    assert ("forget" in steps) is (what == "altered")
    assert "switch True" in steps
    assert server.pointer() == "new"
    assert server.app.rebuilds.read_text() == {"altered": "1 1", "runtime_differences": "1 0"}[what]
    altered = [("integrity check", "old", "altered")] * (what == "altered")
    assert server.history() == [
        ("deploy", "old", "succeeded"), *altered, ("deploy", "new", "succeeded"),
    ]  # fmt: skip
    assert history.healthy(server.app) == ["new"] + ["old"] * (what == "runtime_differences")


def test_a_live_release_that_does_not_serve_is_replaced_by_the_switch(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    server.make("old", live="old")
    server.remember(("deploy", "old", "succeeded"))
    server.answers["old"] = lambda: 503
    names = chain(["old"], repeat("new"))
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release(next(names)))
    deploy(server)
    assert "does not serve: /health answered 503" in capsys.readouterr().err
    assert "switch True" in steps
    assert server.app.rebuilds.read_text() == "1 0"
    assert server.history() == [("deploy", "old", "succeeded"), ("deploy", "new", "succeeded")]


def test_a_live_release_that_is_just_starting_is_waited_for(
    server: Server, steps: list[str]
) -> None:
    server.make("new", live="new")
    server.remember(("deploy", "new", "succeeded"))
    server.app.release("new").socket.parent.mkdir(parents=True)
    server.app.release("new").socket.touch()
    server.answers["new"] = lambda: 503 if server.now < PARAMETERS.start_timeout - 1 else 200
    deploy(server)
    assert steps == []


def test_a_live_release_that_can_not_be_started_is_no_reason_not_to_deploy(
    server: Server, steps: list[str]
) -> None:
    server.make("old", live="old")
    server.refuses = {"start --no-block links@old.target"}
    deploy(server)
    assert "switch True" in steps


@pytest.mark.parametrize("crashing", [True, False])
def test_a_first_release_that_failed_and_stays_live_is_recorded_once_it_holds(
    server: Server, monkeypatch: pytest.MonkeyPatch, *, crashing: bool
) -> None:
    server.make("new", live="new")
    history.record(
        server.app, what="deploy", release="new", before="", result="failed", serves="new"
    )
    monkeypatch.setattr(unit_states, "keeps_crashing", lambda _: crashing)
    release.recover(server.app)
    assert history.healthy(server.app) == ([] if crashing else ["new"])


def test_a_rollback_without_a_live_release_is_to_the_newest_healthy_one(
    server: Server, steps: list[str]
) -> None:
    server.make("older", "old")
    server.remember(("deploy", "older", "succeeded"), ("deploy", "old", "succeeded"))
    durable.point(server.app.current, "releases/gone")
    rollback(server)
    assert "switch True patiently" in steps
    assert server.pointer() == "old"


@pytest.mark.parametrize("is_new", [True, False])
def test_a_release_whose_configuration_changed_meanwhile_is_not_switched_to(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    """A full deploy installs files while a deploy key's release is built from them."""
    server.make("old", *[] if is_new else ["new"], live="old")
    names = chain(["new"] * 2, repeat("another"))
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release(next(names)))
    if not is_new:  # made before, of one configuration
        deploy(server)
        assert "switch True" in steps
        return
    with pytest.raises(ReleaseError, match="configuration of links changed during the build"):
        deploy(server)
    assert "switch True" not in steps
    assert not server.app.release("new").folder.exists()
    assert server.pointer() == "old"


@pytest.mark.parametrize("ask", [deploy, rollback])
def test_what_an_earlier_death_left_is_put_straight_first(
    server: Server, steps: list[str], ask: Callable[[Server], None]
) -> None:
    server.make("older", "old", live="old")
    server.remember(("deploy", "older", "succeeded"), ("deploy", "old", "succeeded"))
    server.up = {"left over"}
    ask(server)
    assert server.calls[:2] == ["start --no-block links@old.target", stop_of("left over")]
    assert steps


def test_the_first_release_needs_no_memory_beside_another(server: Server, steps: list[str]) -> None:
    deploy(server)
    assert "memory" not in steps


@pytest.mark.usefixtures("steps")
def test_memory_is_asked_for_as_much_as_all_processes_take(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(resources, "memory_of", list)
    monkeypatch.setattr(resources, "check_memory", asked.append)
    server.make("old", live="old")
    deploy(server)
    assert asked == [["links-web@old.service", "links-queue@old.service"]]


@pytest.mark.usefixtures("steps")
def test_one_that_leaks_can_be_replaced_and_rolled_back_from(
    three: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    for name, before, memory in (("two", "one", 150), ("three", "two", 200)):
        entry = {"what": "deploy", "release": name, "before": before, "result": "succeeded"}
        history.record(three.app, **entry, memory=memory)
    monkeypatch.setattr(resources, "memory_of", lambda _units: 900)
    monkeypatch.setattr(resources, "check_memory", asked.append)
    deploy(three)
    assert asked.pop() == 200, "what the live one took at first"
    rollback(three, "two")
    assert asked.pop() == 150, "what it took itself"
    rollback(three, "three", force=True)
    assert not asked


@pytest.mark.parametrize(
    ("step", "made"),
    [
        ("host.resources.check_memory", False),
        ("core.release.build", False),
        ("core.migrations.migrate", True),
        ("core.release.switch", True),
    ],
)
@pytest.mark.parametrize(
    ("error", "code", "result", "told"),
    [
        (ReleaseError("no"), 1, "failed", "no"),
        (RolledBackError("no"), 1, "rolled back", "no"),
        (RefusedError("no"), 4, "refused", "no"),
        (
            OSError(errno.ENOSPC, "no"), 1, "failed",
            "The operating system reported: [Errno 28] no",
        ),
        (
            OSError(errno.EROFS, "no"), 1, "failed",
            "The operating system reported: [Errno 30] no",
        ),
        (KeyError("no"), 1, "failed", "KeyError('no')"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("steps")
def test_a_step_that_fails_leaves_the_old_release_and_reports_it(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    code: int,
    result: str,
    told: str,
    *,
    made: bool,
) -> None:
    server.make("old", live="old")
    server.remember(("deploy", "old", "succeeded"))
    monkeypatch.setattr(f"onebox_release.{step}", failing(error))
    with pytest.raises(ReleaseError) as raised:
        deploy(server)
    assert raised.value.code == code
    assert str(raised.value) == (f"{told}\nRelease old still serves. Fix the app and deploy again.")
    last = history.read(server.app)[-1]
    assert (last["what"], last["release"], last["before"]) == ("deploy", "new", "old")
    assert (last["result"], last["why"]) == (result, told)
    assert not server.app.begun.exists()
    releases = {path.name for path in (server.app.home / "releases").iterdir()}
    assert releases == ({"old", "new"} if made else {"old"})
    assert (server.pointer(), server.up) == ("old", {"old"})


@pytest.mark.usefixtures("steps")
def test_a_first_release_that_fails_reports_that_none_serves(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "switch", failing(ReleaseError("no")))
    with pytest.raises(ReleaseError, match="No release serves: there is no previous one"):
        deploy(server)


@pytest.mark.usefixtures("steps")
def test_a_failed_release_that_stays_live_is_not_reported_as_still_serving(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("old", live="old")

    def stays(*_: object, **__: object) -> None:
        durable.point(server.app.current, "releases/new")
        raise ReleaseError(
            "It stays live: the previous release might not work with the migrated database."
        )

    monkeypatch.setattr(release, "switch", stays)
    with pytest.raises(ReleaseError) as error:
        deploy(server)
    assert str(error.value) == (
        "It stays live: the previous release might not work with the migrated database.\n"
        "Release new serves. Fix the app and deploy again."
    )


def test_a_history_that_can_not_be_written_stops_nothing(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "append", failing(OSError(errno.ENOSPC, "full")))
    deploy(server)
    assert "switch True" in steps
    assert server.pointer() == "new"


@pytest.mark.usefixtures("steps")
def test_the_release_before_is_there_until_it_is_stopped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two rollbacks `one` is live, and not among the newest two."""
    server.make("one", "two", "three", live="one")
    server.remember(*(("deploy", name, "succeeded") for name in ("one", "two", "three")))
    there: list[bool] = []
    stop = switch.stop

    def look(release: Release) -> None:
        there.append(release.folder.exists())
        stop(release)

    monkeypatch.setattr(switch, "stop", look)
    deploy(server)
    assert there == [True]


@pytest.mark.usefixtures("steps")
def test_the_previous_release_can_be_rolled_back_to_at_any_age(server: Server) -> None:
    server.make("one", "two", "three", live="one")
    server.remember(*(("deploy", name, "succeeded") for name in ("one", "two", "three")))
    deploy(server)  # it finds that `one` is live again, and keeps the two that were live last
    kept = {path.name for path in (server.app.home / "releases").iterdir()}
    assert kept == {"one", "three", "new"}
    rollback(server)
    assert server.pointer() == "one"


@pytest.mark.usefixtures("steps")
def test_what_failed_deploys_left_does_not_keep_the_next_one_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        if server.app.release("broken").folder.exists():
            raise RefusedError("The disk has 1 MiB free")
        server.make("new")

    monkeypatch.setattr(release, "build", build)
    server.make("broken", "old", live="old")
    server.remember(("deploy", "old", "succeeded"), ("deploy", "broken", "failed"))
    deploy(server)
    assert server.pointer() == "new"


# Rollback.


@pytest.fixture
def three(server: Server) -> Server:
    server.make("one", "two", "three", live="three")
    server.remember(*(("deploy", name, "succeeded") for name in ("one", "two", "three")))
    return server


def test_a_rollback_goes_through_the_same_gate(three: Server, steps: list[str]) -> None:
    rollback(three)
    assert steps == [
        "back two three",
        "memory",
        "switch True patiently",
        "point recorded",
        "point retired",
    ]
    assert (three.pointer(), three.up) == ("two", {"two"})
    assert three.history()[-1] == ("rollback", "two", "succeeded")


@pytest.mark.usefixtures("steps")
def test_a_rollback_reports_what_the_next_deploy_does(
    three: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lock, "HOLD", tmp_path / "hold")
    rollback(three)
    assert "The next deploy of the same code makes three live again" in capsys.readouterr().err
    lock.HOLD.touch()
    rollback(three)
    assert "hold" not in capsys.readouterr().err


@pytest.mark.usefixtures("steps")
def test_two_rollbacks_go_two_releases_back(three: Server) -> None:
    rollback(three)
    rollback(three)
    assert three.pointer() == "one"


@pytest.mark.usefixtures("steps")
def test_a_rollback_can_name_its_release(three: Server) -> None:
    rollback(three, "one")
    assert three.pointer() == "one"


def test_a_release_that_the_database_left_behind_is_refused_unless_forced(
    three: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "check_rollback", failing(RefusedError("moved on")))
    with pytest.raises(RefusedError, match="moved on"):
        rollback(three)
    assert steps == []
    assert (three.pointer(), three.up) == ("three", {"three"})
    rollback(three, force=True)
    assert three.pointer() == "two"


@pytest.mark.usefixtures("steps")
def test_an_altered_release_is_rolled_back_to_by_force_only(
    three: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "altered", lambda *_: [("main.py", "was altered")])
    with pytest.raises(
        RefusedError, match=r"was altered since it was built:\n  main\.py was altered"
    ):
        rollback(three)
    assert three.pointer() == "three"
    rollback(three, force=True)
    assert three.pointer() == "two"


@pytest.mark.usefixtures("steps")
def test_what_cannot_be_rolled_back_to_is_refused_with_what_can(three: Server) -> None:
    with pytest.raises(
        RefusedError, match=r"four is not available\. Releases to roll back to: two, one\."
    ):
        rollback(three, "four")
    with pytest.raises(RefusedError, match="three is live already"):
        rollback(three, "three")


@pytest.mark.usefixtures("steps")
def test_without_an_earlier_release_there_is_none_to_roll_back_to(server: Server) -> None:
    server.make("one", live="one")
    with pytest.raises(RefusedError, match=r"No release was live before one\..*: none"):
        rollback(server)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("host.resources.check_memory", RefusedError("too little memory")),
        ("core.release.switch", ReleaseError("not ready: the database is down")),
    ],
)
@pytest.mark.usefixtures("steps")
def test_a_failed_rollback_does_not_throw_its_release_away(
    three: Server, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    monkeypatch.setattr(f"onebox_release.{step}", failing(error))
    with pytest.raises(ReleaseError, match=str(error)):
        rollback(three)
    assert three.app.release("two").folder.exists()
    assert three.history()[-1] == ("rollback", "two", getattr(error, "result", ""))
    monkeypatch.undo()
    assert history.previous(three.app, "three") == "two"


@pytest.mark.usefixtures("steps")
def test_a_rollback_goes_to_what_served_before_not_to_what_was_rolled_back_from(
    three: Server,
) -> None:
    rollback(three)
    deploy(three)
    rollback(three)
    assert three.pointer() == "two"


# Recovery.


def test_a_restart_goes_to_the_twin_and_back(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hops: list[str] = []
    given = switch.switch

    def switched(release: Release, **options: bool) -> None:
        assert release.app.parameters.watch == 0
        assert (release.folder / "app").is_dir()
        hops.append(release.id)
        given(release, **options)

    monkeypatch.setattr(release, "switch", switched)
    server.make("one", live="one")
    server.app.release("one").environment.write_text("A=1\nONEBOX_RELEASE=one\n")
    server.remember(("deploy", "one", "succeeded"))
    release.restart(server.app)
    assert hops == ["one.twin", "one"]
    assert (server.pointer(), server.up) == ("one", {"one"})
    assert server.history()[-1] == ("restart", "one", "succeeded")
    assert not server.app.release("one.twin").folder.exists()
    assert not server.app.release("one.twin").environment.exists()
    del steps


def test_a_restart_whose_twin_does_not_start_leaves_all_as_it_was(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("one", live="one")
    server.remember(("deploy", "one", "succeeded"))
    monkeypatch.setattr(resources, "check_memory", lambda _: None)
    server.answers["one.twin"] = lambda: 503
    with pytest.raises(ReleaseError, match=r"one\.twin did not become ready"):
        release.restart(server.app)
    assert (server.pointer(), server.up) == ("one", {"one"})
    assert history.healthy(server.app) == ["one"]
    assert not server.app.release("one.twin").folder.exists()


@pytest.mark.usefixtures("steps")
def test_a_restart_that_died_at_the_twin_is_finished_by_whoever_comes_next(server: Server) -> None:
    server.make("old", "new", live="new")
    server.remember(("deploy", "old", "succeeded"), ("deploy", "new", "succeeded"))
    twin.create(server.app.release("new"))
    durable.point(server.app.current, "releases/new.twin")
    server.up = {"new.twin"}
    release.recover(server.app)
    assert len(server.history()) == 2, "a twin is no release of its own"
    release.deploy(server.app, "digest", consent=False)
    assert server.history()[-1] == ("restart", "new", "succeeded")
    assert server.pointer() == "new"
    assert history.previous(server.app, "new") == "old"


def test_a_restart_that_failed_says_nothing_against_its_release(server: Server) -> None:
    server.make("one", live="one")
    server.remember(("deploy", "one", "succeeded"), ("restart", "one", "rolled back"))
    assert history.healthy(server.app) == ["one"]


def test_without_a_release_nothing_is_restarted(server: Server) -> None:
    with pytest.raises(RefusedError, match="Deploy first"):
        release.restart(server.app)


def test_recovery_brings_up_what_is_live_and_down_what_is_not(server: Server) -> None:
    server.make("old", "new", live="new")
    server.up = {"old"}
    release.recover(server.app)
    assert server.calls == ["start --no-block links@new.target", stop_of("old")]
    assert server.up == {"new"}
    assert server.history() == [("deploy", "new", "succeeded")]


def test_a_migration_that_still_runs_is_waited_for_by_all_but_the_live_release(
    server: Server,
) -> None:
    server.make("a", live="a")
    server.up.add("b")
    release.recover(server.app)
    assert server.waited == [("links-migrate@*.service", 1)]
    assert server.calls[:2] == ["start --no-block links@a.target", stop_of("b")]


def test_a_death_in_between_leaves_no_two_processes_that_must_run_alone(server: Server) -> None:
    server.make("old", "new", live="new")
    server.up.add("old")
    for name in ("old", "new"):
        folder = server.app.units_folder
        (folder / f"links@{name}.target").write_text("Wants=links-queue@%i.service\n")
        (folder / f"links-queue@{name}.service").write_text("[Unit]\nX-Onebox-Alone=yes\n")
    release.recover(server.app)
    assert server.calls[:2] == [
        "stop links-queue@old.service", "start --no-block links@new.target",
    ]  # fmt: skip


def test_after_a_kill_past_the_switch_the_previous_release_can_be_rolled_back_to(
    server: Server,
) -> None:
    server.make("older", "old", "new", live="new")
    server.remember(("deploy", "older", "succeeded"), ("deploy", "old", "succeeded"))
    release.recover(server.app)
    assert server.history()[-1] == ("deploy", "new", "succeeded")
    assert history.previous(server.app, "new") == "old"
    assert history.successor(server.app, "old") == "new"


def test_after_a_kill_past_the_switch_to_an_earlier_release_that_is_live_again(
    server: Server,
) -> None:
    """It was live before, so it is healthy; without its entry a rollback would skip `new`."""
    server.make("old", "new", live="old")
    server.remember(("deploy", "old", "succeeded"), ("deploy", "new", "succeeded"))
    release.recover(server.app)
    assert server.history()[-1] == ("deploy", "old", "succeeded")
    assert history.previous(server.app, "old") == "new"
    release.recover(server.app)
    assert len(server.history()) == 3


def test_a_rollback_that_was_cut_off_after_the_switch_is_recorded_as_one(
    server: Server, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second rollback would make the release live that was rolled back from."""
    server.make("older", "old", "new", live="new")
    server.remember(*(("deploy", name, "succeeded") for name in ("older", "old", "new")))

    def cut_off(to: Release, **_: object) -> None:
        durable.point(server.app.current, f"releases/{to}")
        raise KeyboardInterrupt

    monkeypatch.setattr(release, "switch", cut_off)
    with pytest.raises(KeyboardInterrupt):
        rollback(server)
    assert (server.pointer(), steps) == ("old", ["back old new", "memory"])
    release.recover(server.app)
    assert server.history()[-1] == ("rollback", "old", "succeeded")
    assert history.read(server.app)[-1]["who"]
    assert history.previous(server.app, "old") == "older"
    assert not server.app.begun.exists()


def test_a_deploy_that_was_cut_off_before_the_switch_names_no_other_release(server: Server) -> None:
    server.make("old", "new", live="new")
    server.remember(("deploy", "old", "succeeded"))
    history.begin(server.app, {"what": "rollback", "release": "old", "before": "", "who": "x"})
    release.recover(server.app)
    assert server.history()[-1] == ("deploy", "new", "succeeded")


def test_recovery_of_a_server_in_order_asks_for_what_is_there(server: Server) -> None:
    server.make("a", live="a")
    server.remember(("deploy", "a", "succeeded"))
    release.recover(server.app)
    assert server.calls == ["start --no-block links@a.target"]
    assert (server.pointer(), server.up, server.now) == ("a", {"a"}, 0)
    assert server.history() == [("deploy", "a", "succeeded")]


def test_recovery_without_a_pointer_stops_what_is_up(server: Server) -> None:
    server.make("a")
    server.up = {"a"}
    release.recover(server.app)
    assert server.up == set()
    assert not server.app.history.exists()


@pytest.mark.parametrize(
    "died", ["started", "settled", "switched", "joined", "watched", "rolled back"]
)
def test_after_a_death_anywhere_in_the_switch_exactly_one_release_serves(
    server: Server, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    class DiedError(BaseException):
        pass

    def die(name: str) -> None:
        if name == died:
            raise DiedError

    server.make("old", "new", live="old")
    if died == "rolled back":
        server.public = lambda: "old"
    monkeypatch.setattr(resources, "memory", lambda: (1, 1))
    monkeypatch.setattr(faults, "point", die)
    with pytest.raises(DiedError):
        switch.switch(server.app.release("new"), can_roll_back=True)
    release.recover(server.app)
    serving = "old" if died in {"started", "settled", "rolled back"} else "new"
    assert (server.pointer(), server.up) == (serving, {serving})


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which hooks were run, within which release, about which result."""
    ran: list[str] = []

    def run(*plain: object, release: str | None, **variables: str) -> None:
        ran.append(f"{plain[-1]} within {release}: {variables.get('RESULT', '')}".rstrip(": "))

    monkeypatch.setattr(release.hooks, "run", run)  # type: ignore[attr-defined]
    return ran


@pytest.mark.usefixtures("steps")
def test_hooks_run_before_and_after_a_deploy_in_the_new_release(
    server: Server, hooked: list[str]
) -> None:
    server.make("old", live="old")
    deploy(server)
    assert hooked == ["before within new", "after within new: succeeded"]


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize(
    ("error", "ran"),
    [
        (ReleaseError("no"), "failed within old: failed"),
        (RefusedError("no"), "failed within old: refused"),
        (RolledBackError("no"), "rolled_back within old: rolled back"),
        (OSError("no"), "failed within old: failed"),
    ],
)
def test_the_hook_of_a_failure_runs_in_what_serves(
    server: Server, hooked: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception, ran: str
) -> None:
    monkeypatch.setattr(release, "switch", failing(error))
    server.make("old", live="old")
    with pytest.raises(ReleaseError):
        deploy(server)
    assert hooked == ["before within new", ran]


@pytest.mark.usefixtures("steps")
def test_a_rollback_has_a_hook_of_its_own(three: Server, hooked: list[str]) -> None:
    rollback(three)
    assert len(hooked) == 1
    assert hooked[0].startswith("rollback within")


@pytest.mark.usefixtures("steps")
def test_a_release_that_a_job_still_runs_in_is_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"first"}
    monkeypatch.setattr(release.timers, "running", lambda *_: running)  # type: ignore[attr-defined]
    server.make("first", "second", "third", "fourth", live="fourth")
    names = ("first", "second", "third", "fourth")
    server.remember(*(("deploy", name, "succeeded") for name in names))
    deploy(server)
    assert server.app.release("first").folder.exists()
    assert not server.app.release("second").folder.exists()
    running.clear()
    server.make("last")
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release("last"))
    deploy(server)
    assert not server.app.release("first").folder.exists()


def test_recovery_removes_what_a_killed_deploy_left_half_made(app: App, server: Server) -> None:
    server.make("a-1", live="a-1")
    server.remember(("deploy", "a-1", "succeeded"))
    (app.release(".b-1.new").folder / "app").mkdir(parents=True)
    release.recover(app)
    assert [path.name for path in (app.home / "releases").iterdir()] == ["a-1"]
