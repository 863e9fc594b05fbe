"""What is raised and resolved, given findings and what was remembered."""

from __future__ import annotations

from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from onebox_checks import state
from onebox_checks.observation import App, Disk, Observation
from onebox_checks.rules import Finding
from onebox_checks.state import State
from onebox_release.host import durable

EVERY = 300
BAD = Finding("disk", "/", "full", "empty it")
TIMER = Finding("timer", "links-report", "failed", "mend it", patient=False, urgent=False)


def rounds(*looks: list[Finding], unknown: frozenset[str] = frozenset()) -> State:
    kept = State()
    for number, findings in enumerate(looks):
        state.update(kept, findings, set(unknown), number * EVERY, EVERY)
        for problem in kept.open.values():
            problem.notified = True
    return kept


def test_what_lasts_for_two_rounds_is_open_since_the_first() -> None:
    assert rounds([BAD]).open == {}
    kept = rounds([], [BAD], [BAD])
    assert kept.open["disk:/"].since == EVERY
    assert kept.suspected == {}


def test_what_is_over_in_the_next_round_was_nothing() -> None:
    kept = rounds([BAD], [], [BAD], [])
    assert (kept.open, kept.suspected, kept.resolved) == ({}, {}, [])


def test_a_check_in_between_is_no_round() -> None:
    kept = State()
    for at in (0, 1, 2):
        state.update(kept, [BAD], set(), at, EVERY)
    assert kept.open == {}


def test_what_cannot_be_over_by_itself_is_open_and_cured_at_once() -> None:
    assert list(rounds([TIMER]).open) == ["timer:links-report"]
    assert [p.key for p in rounds([TIMER], [TIMER], []).resolved] == ["timer:links-report"]


def test_a_cure_must_last_too() -> None:
    assert list(rounds([BAD], [BAD], []).open) == ["disk:/"]
    assert list(rounds([BAD], [BAD], [], [BAD], []).open) == ["disk:/"]
    kept = rounds([BAD], [BAD], [], [])
    assert (kept.open, [p.key for p in kept.resolved]) == ({}, ["disk:/"])


def test_no_resolution_is_sent_of_an_unreported_problem() -> None:
    kept = State()
    state.update(kept, [TIMER], set(), 0, EVERY)
    state.update(kept, [], set(), 1, EVERY)
    assert (kept.open, kept.resolved) == ({}, [])


def test_a_problem_stays_while_it_cannot_be_checked() -> None:
    kept = rounds([BAD], [BAD])
    for at in (2, 3, 4):
        state.update(kept, [], {"disk"}, at * EVERY, EVERY)
    assert list(kept.open) == ["disk:/"]


def test_a_problem_of_one_app_stays_while_it_cannot_be_checked() -> None:
    other = replace(BAD, of="/srv")
    kept = rounds([BAD, other], [BAD, other])
    for at in (2, 3, 4):
        state.update(kept, [], {"disk:/"}, at * EVERY, EVERY)
    assert list(kept.open) == ["disk:/"]


def test_the_words_of_an_open_problem_are_the_newest() -> None:
    worse = Finding("disk", "/", "fuller", "empty it")
    assert rounds([BAD], [BAD], [worse]).open["disk:/"].what == "fuller"


def test_a_problem_that_happens_again_is_reported_again() -> None:
    first, again = (
        Finding("deploy", "links", "failed", "x", patient=False, mark=mark) for mark in "ab"
    )
    kept = rounds([first])
    state.update(kept, [again], set(), EVERY, EVERY)
    assert kept.open["deploy:links"].notified is False
    assert kept.open["deploy:links"].since == EVERY


def test_no_ping_is_sent_while_a_problem_is_urgent_or_unreported() -> None:
    assert State().is_good
    assert rounds([TIMER]).is_good
    assert not rounds([BAD], [BAD]).is_good
    untold = rounds([TIMER])
    untold.open["timer:links-report"].notified = False
    assert not untold.is_good
    assert not rounds([TIMER], []).is_good, "its cure is not told yet"


def test_messages_are_few() -> None:
    kept = State(sent=[float(i) for i in range(12)])
    assert state.allowance(kept, 3599, 12, urgent=False) is None
    assert state.allowance(kept, 3601, 12, urgent=False) is kept.sent
    assert len(kept.sent) < 12


def test_what_is_urgent_has_an_allowance_of_its_own() -> None:
    kept = State(sent=[1.0] * 12, sent_urgent=[1.0] * 11)
    assert state.allowance(kept, 2, 12, urgent=True) is kept.sent_urgent
    kept.sent_urgent.append(1.0)
    assert state.allowance(kept, 2, 12, urgent=True) is None


def test_figures_are_kept_once_a_round_and_for_an_hour() -> None:
    kept = State()
    for number in range(40):
        disk = Disk("/", 100, number, 0, 0)
        app = App("links", "d", restarts={"w": number})
        for at in (number * EVERY, number * EVERY + 5):
            state.record_samples(kept, Observation(at=at, disks=[disk], apps=[app]), EVERY)
    assert [free for _, free in kept.free["/"]] == list(range(28, 40))
    state.record_samples(kept, Observation(at=41 * EVERY), EVERY)
    assert (kept.free, kept.restarts) == ({}, {})


def test_all_is_remembered(tmp_path: Path) -> None:
    kept = rounds([BAD, TIMER], [BAD])
    kept.free["/"] = [(1.0, 2)]
    state.save(kept, tmp_path / "state.json", tmp_path / "spare")
    again = state.load(tmp_path / "state.json", tmp_path / "spare")
    assert (again.open, again.resolved) == (kept.open, kept.resolved)
    assert [tuple(sample) for sample in again.free["/"]] == [(1.0, 2)]


@pytest.mark.parametrize("text", [None, "", "{", '{"schema": 99, "data": {}}'])
def test_what_can_not_be_read_is_nothing(tmp_path: Path, text: Any) -> None:
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    assert state.load(tmp_path / "state.json", tmp_path / "spare") == State()


def test_a_disk_that_takes_nothing_is_remembered_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, spare = tmp_path / "state.json", tmp_path / "spare"
    state.save(State(at=1), file, spare)

    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(durable, "write", full)
        state.save(State(at=2), file, spare)
    assert state.load(file, spare).at == 2
    state.save(State(at=3), file, spare)
    assert (state.load(file, spare).at, spare.exists()) == (3, False)
