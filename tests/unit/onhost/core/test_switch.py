"""From one release to another: every way that it can go."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from onebox_release import faults
from onebox_release.core import release_units
from onebox_release.core.switch import answer_problem, connections, drain, retire, stop, switch
from onebox_release.errors import ReleaseError, RolledBackError
from onebox_release.host import durable, health, resources, systemd

from tests.unit.onhost.fake_server import PARAMETERS, Server, stop_of


@pytest.fixture
def two(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server on which `old` is live, and `new` is built."""
    monkeypatch.setattr(resources, "memory", lambda: (1000, 1000))
    server.make("old", "new", live="old")
    return server


def go(server: Server, *, can_roll_back: bool = True) -> None:
    switch(server.app.release("new"), can_roll_back=can_roll_back)


def after(server: Server, seconds: float, status: int) -> Callable[[], int]:
    """Return answers that change once so many seconds have passed since the switch."""
    switched: list[float] = []

    def answer() -> int:
        if server.pointer() == "new":
            switched.append(server.now)
        return status if switched and server.now >= switched[0] + seconds else 200

    return answer


def assert_old_serves(server: Server) -> None:
    assert (server.pointer(), server.up) == ("old", {"old"})


def test_a_good_release_goes_live_and_the_old_one_stays_warm(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: list[str] = []
    monkeypatch.setattr(faults, "point", points.append)
    go(two)
    assert two.calls == [
        "daemon-reload",
        "start --no-block links-web@new.service",
        "start links@new.target",
    ]
    assert (two.pointer(), two.up) == ("new", {"old", "new"})
    assert points == ["started", "settled", "switched", "joined", "watched"]
    assert two.now >= PARAMETERS.settle + PARAMETERS.watch


def test_a_release_is_asked_where_it_was_made_to_answer(two: Server) -> None:
    two.app.release("new").environment.write_text('A="1"\nONEBOX_HEALTH="/older"\n')
    two.paths["new"] = "/older"
    go(two)
    assert two.pointer() == "new"
    assert answer_problem(two.app.release("old")) == ""
    assert answer_problem(two.app.release("new")) == ""


def test_the_pointer_moves_only_after_the_settling_time(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[float] = []
    point = durable.point

    def move(link: Path, target: str) -> None:
        moved.append(two.now)
        point(link, target)

    monkeypatch.setattr(durable, "point", move)
    go(two)
    assert moved[0] >= PARAMETERS.settle


@pytest.mark.parametrize(("watch", "least"), [(0, 0), (4, 4), (60, 10)])
def test_the_first_release_is_watched_for_as_long_as_its_processes_take_to_start(
    server: Server, monkeypatch: pytest.MonkeyPatch, watch: int, least: int
) -> None:
    monkeypatch.setattr(resources, "memory", lambda: (1000, 1000))
    server.make("new")
    switch(server.app.with_parameters(watch=watch).release("new"), can_roll_back=True)
    assert server.pointer() == "new"
    assert least <= server.now - PARAMETERS.settle < least + 3


def test_a_first_release_whose_process_crashes_fails_and_goes_on_serving(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "memory", lambda: (1000, 1000))
    server.make("new")
    server.crashed.add("links-queue@new.service")
    with pytest.raises(ReleaseError) as error:
        go(server)
    assert str(error.value) == (
        "Release new became unhealthy: links-queue@new.service died.\n"
        "Its last lines:\n  | last words of links-queue@new.service\n"
        "It stays live: there is no previous release to roll back to."
    )
    assert (server.pointer(), server.up) == ("new", {"new"})


def test_a_release_that_goes_bad_is_not_rolled_back_to_one_that_does_not_serve(two: Server) -> None:
    two.answers["old"] = lambda: 503
    two.answers["new"] = after(two, 1, 500)
    with pytest.raises(ReleaseError, match=r"It stays live: the previous release old is unhealthy"):
        go(two)
    assert two.pointer() == "new"


def slow(two: Server, seconds: float, cpu: float) -> None:
    """Have `new` answer after so many seconds, and use this share of a core until then."""
    two.not_serving["new"] = lambda: two.now < seconds
    two.cpu = lambda unit: cpu * min(two.now, seconds) if unit == "links-web@new.service" else 0


def test_a_start_that_is_slow_but_works_gets_more_time(two: Server) -> None:
    slow(two, 4 * PARAMETERS.start_timeout, cpu=0.1)
    go(two)
    assert two.pointer() == "new"


@pytest.mark.parametrize(
    ("cpu", "within", "told"),
    [
        (
            0.01,
            1.3,
            "did not become ready within 5 s (`start_timeout`): the release did not answer",
        ),
        (1.0, 5.3, "was still starting after 25 s, using the CPU: the release did not answer"),
    ],
)
def test_one_that_hangs_or_is_too_slow_fails_by_the_setting(
    two: Server, cpu: float, within: float, told: str
) -> None:
    slow(two, math.inf, cpu)
    with pytest.raises(ReleaseError) as error:
        go(two)
    assert told in str(error.value)
    assert "start_timeout" in str(error.value)
    assert two.now <= within * PARAMETERS.start_timeout + 1
    assert_old_serves(two)


def test_going_back_never_fails_for_slowness_alone(two: Server) -> None:
    slow(two, 60 * PARAMETERS.start_timeout, cpu=0.1)
    switch(two.app.release("new"), can_roll_back=True, patient=True)
    assert two.pointer() == "new"


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (404, "The app has no such path: set `health` (now '/health')"),
        (400, "add links.test to its allowed hosts (Django: ALLOWED_HOSTS), or set `health`"),
        (401, "Set `health` to a path that answers 200 without a login (now '/health')"),
    ],
)
def test_a_steady_refusal_is_a_verdict_long_before_the_time_is_up(
    two: Server, status: int, hint: str
) -> None:
    two.answers["new"] = lambda: status
    with pytest.raises(ReleaseError) as error:
        switch(two.app.with_parameters(start_timeout=60).release("new"), can_roll_back=True)
    assert f"/health answered {status}" in str(error.value)
    assert hint in str(error.value)
    assert 5 <= two.now < 6
    assert_old_serves(two)


@pytest.mark.parametrize("status", [404, 429])
def test_refusals_while_it_starts_are_none(two: Server, status: int) -> None:
    until = {404: 4.5, 429: 20}[status]
    two.answers["new"] = lambda: status if two.now < until else 200
    switch(two.app.with_parameters(start_timeout=60).release("new"), can_roll_back=True)
    assert two.pointer() == "new"


def test_a_worker_killed_while_it_starts_is_reported_with_its_setting(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "[CRITICAL] WORKER TIMEOUT (pid:7)\n"
    monkeypatch.setattr(systemd, "journal", lambda *_, **__: log)
    slow(two, math.inf, cpu=0)
    with pytest.raises(
        ReleaseError, match="killed a worker that was unresponsive for the `timeout` of"
    ):
        go(two)


@pytest.mark.parametrize(
    ("status", "crash", "fail", "told"),
    [
        (
            503,
            False,
            False,
            " within 5 s (`start_timeout`): /health answered 503 Service Unavailable: body",
        ),
        (200, True, False, ": it crashed"),
        (200, False, True, ": it failed"),
    ],
)
def test_a_candidate_that_never_gets_ready_is_stopped_unnoticed(
    two: Server, status: int, *, crash: bool, fail: bool, told: str
) -> None:
    unit = "links-web@new.service"
    two.answers["new"] = lambda: status
    two.crashed |= {unit} if crash else set()
    two.failed |= {unit} if fail else set()
    with pytest.raises(ReleaseError) as error:
        go(two)
    assert type(error.value) is ReleaseError, "it never went live"
    assert str(error.value) == (
        f"Release new did not become ready{told}.\n"
        "Its last lines:\n  | last words of links-web@new.service"
    )
    assert_old_serves(two)
    assert stop_of("new") in two.calls
    assert (two.now < 1) == (crash or fail), "a crash is not waited out, a slow start is"
    assert ("reset-failed links-web@new.service" in two.calls) == fail


def test_a_candidate_that_answers_with_another_releases_name_is_not_ready(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ask", lambda *_: health.Answer(200, "old", ""))
    with pytest.raises(ReleaseError, match="release old answered"):
        go(two)
    assert_old_serves(two)


def test_a_crash_in_the_settling_time_stops_the_candidate(two: Server) -> None:
    def answer() -> int:
        if two.now > 1:
            two.crashed.add("links-web@new.service")
        return 200

    two.answers["new"] = answer
    with pytest.raises(ReleaseError, match="it crashed"):
        go(two)
    assert_old_serves(two)


def test_a_candidate_that_another_process_killed_names_the_way_out(two: Server) -> None:
    unit = "links-web@new.service"
    two.crashed.add(unit)
    two.results[unit] = "signal"
    with pytest.raises(ReleaseError, match=r"it was killed .* `fab pause`"):
        go(two)
    assert_old_serves(two)


def test_one_bad_answer_in_the_settling_time_is_enough(two: Server) -> None:
    two.answers["new"] = lambda: 500 if 1 < two.now < 1.2 else 200
    with pytest.raises(ReleaseError, match="answered 500"):
        go(two)
    assert_old_serves(two)


def test_nginx_answering_with_another_release_puts_back(two: Server) -> None:
    two.public = lambda: "old"
    with pytest.raises(RolledBackError, match=r"nginx is not serving release new: release old"):
        go(two)
    assert_old_serves(two)
    assert two.calls.index("start --no-block links@old.target") < two.calls.index(stop_of("new"))


def test_without_a_certificate_nginx_is_asked_over_http(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(connection: Any, path: str) -> health.Answer:
        if isinstance(connection, health.NginxConnection):
            raise ConnectionRefusedError
        return two.ask(connection, path)

    monkeypatch.setattr(health, "ask", ask)
    go(two)
    assert two.pointer() == "new"


def test_a_first_release_that_nginx_does_not_reach_leaves_no_pointer(server: Server) -> None:
    server.make("new")
    server.public = lambda: None
    with pytest.raises(RolledBackError, match="nginx is not serving"):
        go(server)
    assert server.pointer() is None
    assert server.up == set()


def test_processes_that_systemd_does_not_start_are_rolled_back(two: Server) -> None:
    two.refuses = {"start links@new.target"}
    with pytest.raises(RolledBackError, match="refused"):
        go(two)
    assert_old_serves(two)


@pytest.mark.parametrize("process", ["web", "queue"])
def test_a_process_that_dies_while_watched_puts_back(two: Server, process: str) -> None:
    unit = f"links-{process}@new.service"

    def answer() -> int:
        if two.now > PARAMETERS.settle + 5:
            two.crashed.add(unit)
        return 200

    two.answers["new"] = answer
    with pytest.raises(RolledBackError) as error:
        go(two)
    assert str(error.value) == (
        f"Release new became unhealthy: {unit} died.\nIts last lines:\n  | last words of {unit}"
    )
    assert_old_serves(two)


def test_a_worker_that_ends_well_to_be_started_afresh_has_not_died(two: Server) -> None:
    two.ended_well = {"links-queue@new.service"}
    go(two)
    assert two.pointer() == "new"


def test_a_web_process_that_ends_well_has_died_all_the_same(two: Server) -> None:
    two.ended_well = {"links-web@new.service"}
    with pytest.raises(ReleaseError, match="did not become ready: it crashed"):
        go(two)
    assert_old_serves(two)


def test_a_starting_release_is_waited_for_a_second_at_a_time_and_a_settled_one_longer(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[tuple[bool, float | None]] = []

    def ask(connection: Any, path: str) -> health.Answer:
        if isinstance(connection, health.UnixConnection):
            patience.append((bool(patience), connection.timeout))
        return two.ask(connection, path)

    monkeypatch.setattr(health, "ask", ask)
    go(two)
    assert set(patience) == {(False, 1), (True, health.PATIENCE)}


def test_three_failed_checks_in_a_row_roll_back(two: Server) -> None:
    two.answers["new"] = after(two, 4, 500)
    with pytest.raises(RolledBackError, match="became unhealthy: /health answered 500"):
        go(two)
    assert_old_serves(two)


def test_two_misses_in_a_row_do_not(two: Server) -> None:
    statuses = iter([500, 500, 200] * 100)
    two.answers["new"] = lambda: next(statuses) if "start links@new.target" in two.calls else 200
    go(two)
    assert two.pointer() == "new"


def test_a_jump_of_the_error_rate_puts_back(two: Server) -> None:
    log = two.app.access_log
    log.write_text('1 "GET / HTTP/1.1" 200 5 "-" "-" "200"\n' * 100)

    def answer() -> int:
        if two.pointer() == "new" and two.now > PARAMETERS.settle + 3:
            with log.open("a") as file:
                file.write('1 "GET / HTTP/1.1" 500 5 "-" "-" "500"\n')
        return 200

    two.answers["new"] = answer
    with pytest.raises(RolledBackError, match=r"became unhealthy: 5 of \d requests failed"):
        go(two)
    assert_old_serves(two)


def test_little_memory_shortens_the_watch(two: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "SHORT_WATCH", 1)
    monkeypatch.setattr(resources, "memory", lambda: (10, 1000))
    go(two)
    assert two.now < PARAMETERS.settle + PARAMETERS.watch


def test_what_the_old_one_can_not_run_on_stays_live_though_bad(two: Server) -> None:
    two.answers["new"] = after(two, 1, 500)
    with pytest.raises(
        ReleaseError, match="It stays live: the previous release might not work with the migrated"
    ) as error:
        go(two, can_roll_back=False)
    assert type(error.value) is ReleaseError, "it was not put back"
    assert two.pointer() == "new"
    assert two.up == {"old", "new"}


def test_one_that_never_went_live_is_stopped_though_there_is_no_rollback(two: Server) -> None:
    two.answers["new"] = lambda: 503
    with pytest.raises(ReleaseError, match="did not become ready"):
        go(two, can_roll_back=False)
    assert_old_serves(two)


# A disk that fails.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("step", ["symlink", "rename"])
def test_a_pointer_that_can_not_be_written_leaves_the_old_one(
    two: Server, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match=os.strerror(number)):  # no rollback: it never went live
        go(two)
    assert_old_serves(two)


@pytest.mark.parametrize(
    ("again", "up", "error"), [(True, {"old", "new"}, OSError), (False, {"old"}, RolledBackError)]
)
def test_a_folder_that_can_not_be_synced_after_the_rename_never_leads_to_a_stopped_release(
    two: Server,
    monkeypatch: pytest.MonkeyPatch,
    up: set[str],
    error: type[Exception],
    *,
    again: bool,
) -> None:
    failures = iter([True, again])

    def fsync(_: int) -> None:
        if next(failures, again):
            raise OSError(errno.EIO, "journal aborted")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(error, match="journal aborted"):
        go(two)
    assert (two.pointer(), two.up) == ("old", up)


def test_an_error_of_the_disk_after_the_rename_puts_back(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        if name == "joined":
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(faults, "point", refuse)
    with pytest.raises(RolledBackError, match="full"):
        go(two)
    assert_old_serves(two)


def test_last_lines_that_are_not_utf8_do_not_keep_a_bad_release(
    two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def journal(*_: object, **__: object) -> str:
        return b"\xff".decode()

    monkeypatch.setattr(systemd, "journal", journal)
    two.answers["new"] = after(two, 1, 500)
    with pytest.raises(RolledBackError, match="UnicodeDecodeError"):
        go(two)
    assert_old_serves(two)


@pytest.mark.parametrize("step", ["_start", "_go_live"])
def test_an_unexpected_error_leaves_the_old_release(
    two: Server, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(f"onebox_release.core.switch.{step}", surprise)
    with pytest.raises(
        RolledBackError if step == "_go_live" else ZeroDivisionError, match="surprise"
    ):
        go(two)
    assert_old_serves(two)


def test_a_release_before_that_systemd_refuses_to_start_is_live_all_the_same(two: Server) -> None:
    two.public = lambda: "old"
    two.refuses = {"start --no-block links@old.target"}
    with pytest.raises(ReleaseError, match="refused"):
        go(two)
    assert two.pointer() == "old"
    assert "old" in two.up


# Retiring.


def test_all_but_the_live_release_are_stopped(server: Server) -> None:
    server.make("a", "b", "c", live="b")
    server.up = {"a", "b", "c"}
    retire(server.app)
    assert server.up == {"b"}
    assert server.calls == [stop_of("a"), stop_of("c")]
    assert server.now == 2 * 0.5, "nginx may be on its way to an old socket"


def test_a_candidate_that_never_went_live_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only our own health checks can be waiting in its socket's queue: it has no clients."""

    def fail(*_: object, **__: object) -> None:
        raise ReleaseError("not ready")

    monkeypatch.setattr("onebox_release.core.switch.connections", lambda _: 1)
    monkeypatch.setattr("onebox_release.core.switch._start", fail)
    server.make("a", "b", live="b")
    server.up.add("a")
    with pytest.raises(ReleaseError):
        switch(server.app.release("a"), can_roll_back=True)
    assert server.up == {"b"}
    assert server.now == 0


def test_a_release_is_drained_before_it_is_stopped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[list[str]] = []

    def busy_at_first(path: Path) -> int:
        assert path == server.app.release("a").socket
        looked.append(list(server.calls))
        return len(looked) < 3

    monkeypatch.setattr("onebox_release.core.switch.connections", busy_at_first)
    server.up = {"a"}
    retire(server.app)
    assert looked == [[], [], []]
    assert server.calls == [stop_of("a")]


def test_nothing_to_retire_takes_no_time(server: Server) -> None:
    server.make("a", live="a")
    retire(server.app)
    assert (server.calls, server.now) == ([], 0)


def test_a_failed_process_is_forgotten_when_stopped(server: Server) -> None:
    server.failed = {"links-queue@a.service"}
    stop(server.app.release("a"))
    assert server.calls == [stop_of("a"), "reset-failed links-queue@a.service"]


def test_live_is_what_the_pointer_leads_to_if_it_is_there(server: Server) -> None:
    assert server.app.live() is None
    server.make("a", live="a")
    assert server.app.live() == server.app.release("a")
    server.app.release("a").folder.rename(server.app.release("gone").folder)
    assert server.app.live() is None


# Real sockets.


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield path, listening


def test_connections_count_whether_accepted_or_not(listener: tuple[Path, socket.socket]) -> None:
    path, listening = listener
    link = path.parent / "current"
    link.symlink_to(path.parent)
    with ExitStack() as stack:
        for way in (path, link / "web.sock"):  # nginx comes through the pointer
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(way))
        assert connections(path) == 2
        accepted = stack.enter_context(listening.accept()[0])
        assert connections(path) == 2
        del accepted
    while connections(path):  # the one that was never accepted
        listening.accept()[0].close()
    assert connections(path) == 0


@pytest.mark.parametrize("name", [b"\0\xff\xfe", b"\0\nx", b"\0 \n \n\n", b"\0a\n\xff" * 9])
def test_names_that_another_app_chose_disturb_nothing(
    listener: tuple[Path, socket.socket], name: bytes
) -> None:
    path, _ = listener
    with socket.socket(socket.AF_UNIX) as odd, socket.socket(socket.AF_UNIX) as client:
        odd.bind(name)
        odd.listen()
        client.connect(str(path))
        assert connections(path) == 1


def test_a_socket_is_drained_when_its_last_connection_ends(
    listener: tuple[Path, socket.socket], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listening = listener
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    accepted = listening.accept()[0]

    def sleep(seconds: float) -> None:
        server.now += seconds
        if server.now > 1:
            client.close()
            accepted.close()

    monkeypatch.setattr(server, "sleep", sleep)
    drain(path, 30)
    assert 1 < server.now < 2


def test_a_connection_that_stays_gets_the_drain_time_and_no_more(
    listener: tuple[Path, socket.socket], server: Server
) -> None:
    path, _ = listener
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        drain(path, 3)
    assert 3 <= server.now < 3.5


def own(server: Server, release: str, *, alone: bool) -> None:
    """Give a release unit files of its own, with a queue that runs alone or not."""
    folder = server.app.units_folder
    wants = "Wants=links-web@%i.service links-queue@%i.service\n"
    (folder / f"links@{release}.target").write_text(wants)
    (folder / f"links-queue@{release}.service").write_text(
        "[Unit]\n" + f"{release_units.ALONE}\n" * alone
    )


STOP, START = "stop links-queue@{}.service", "start links@{}.target"


@pytest.mark.parametrize(("old", "new"), [(True, True), (True, False), (False, True)])
def test_a_process_that_runs_alone_is_stopped_before_the_new_one_is_started(
    two: Server, *, old: bool, new: bool
) -> None:
    own(two, "old", alone=old)
    own(two, "new", alone=new)
    go(two)
    calls = [call for call in two.calls if call in {STOP.format("old"), START.format("new")}]
    assert calls == [STOP.format("old"), START.format("new")]


def test_other_processes_run_on_beside_the_new_one(two: Server) -> None:
    own(two, "old", alone=False)
    own(two, "new", alone=False)
    go(two)
    assert STOP.format("old") not in two.calls


def test_a_rollback_stops_the_new_one_that_runs_alone_before_the_old_one_starts(
    two: Server,
) -> None:
    own(two, "old", alone=True)
    own(two, "new", alone=True)
    two.answers["new"] = after(two, 1, 500)
    with pytest.raises(RolledBackError):
        go(two)
    back = two.calls.index("start --no-block links@old.target")
    assert two.calls.index(STOP.format("new")) < back
    assert_old_serves(two)
