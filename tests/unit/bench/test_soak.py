"""bench/soak.py: the order, the budget, and what a next run does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import results, soak
from bench.soak import NEVER, UNKNOWN, Measurement

MINUTE = 60.0


def measurement(name: str, seconds: float = MINUTE) -> Measurement:
    return Measurement(name, ("pytest", name), NEVER, seconds)


class Clock:
    """Time that passes while something is measured."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def measure(self, measurement: Measurement) -> str:
        self.ran.append(measurement.name)
        self.now += measurement.seconds
        return "FAILED, see log" if measurement.name == "broken" else ""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the kept results: by name, the day, the seconds and what changed."""

    def keep(**days: tuple[int, float | None, tuple[str, ...]]) -> None:
        found = {
            name: results.Result(name, datetime(2026, 1, day, tzinfo=UTC), seconds, changed)
            for name, (day, seconds, changed) in days.items()
        }
        monkeypatch.setattr(results, "load", found.get)
        monkeypatch.setattr(results, "names", lambda: [*found])

    return keep


def test_stale_ones_come_oldest_first_and_fresh_ones_not(kept: Callable[..., None]) -> None:
    kept(
        new=(9, 5, ("a.py",)),
        old=(2, None, ("a.py",)),
        fresh=(1, 5, ()),
    )
    known = {name: ("pytest", name) for name in ("new", "fresh", "old", "never")}
    queue = soak.stale(known)
    assert [(each.name, each.seconds) for each in queue] == [
        ("never", UNKNOWN),
        ("old", UNKNOWN),
        ("new", 5),
    ]


def test_none_starts_that_would_exceed_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    queue = [measurement("a"), measurement("long", 3 * MINUTE), measurement("b"), measurement("c")]
    tally = soak.run(queue, 2 * MINUTE, clock.measure, clock)
    assert clock.ran == ["a", "b"]
    assert (tally.passed, tally.failed, tally.left) == (2, 0, 2)
    assert capsys.readouterr().out == "a: passed (1 min 0 s)\nb: passed (1 min 0 s)\n"


def test_one_that_just_fits_starts() -> None:
    clock = Clock()
    soak.run([measurement("a", 2 * MINUTE)], 2 * MINUTE, clock.measure, clock)
    assert clock.ran == ["a"]


def test_a_failure_is_counted_and_the_next_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    tally = soak.run([measurement("broken"), measurement("a", 5)], 600, clock.measure, clock)
    assert clock.ran == ["broken", "a"]
    assert (tally.passed, tally.failed, tally.left) == (1, 1, 0)
    assert capsys.readouterr().out == "broken: FAILED, see log (1 min 0 s)\na: passed (5 s)\n"


@pytest.mark.parametrize(("code", "keeps"), [(0, True), (0, False), (1, True)])
def test_a_measurement_passes_if_it_keeps_a_result(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: Callable[..., None],
    *,
    code: int,
    keeps: bool,
) -> None:
    kept(**({"a/b": (3, 5.0, ())} if keeps else {}))
    commands: list[Any] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    problem = soak.measured(Measurement("a/b", ("pytest", "-q", "x::y"), NEVER, 1), tmp_path)
    assert commands == [[sys.executable, "-m", "pytest", "-q", "x::y"]]
    assert (problem == "") is (code == 0 and keeps)


def test_a_next_run_resumes(
    monkeypatch: pytest.MonkeyPatch,
    kept: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = {name: ("pytest", name) for name in ("a", "b", "broken")}
    monkeypatch.setattr(soak, "collected", lambda: known)
    ran: list[str] = []

    def measure(measurement: Measurement, _: Path) -> str:
        ran.append(measurement.name)
        return "FAILED, see log" if measurement.name == "broken" else ""

    monkeypatch.setattr(soak, "measured", measure)
    kept(a=(9, 60.0, ("a.py",)), b=(2, 7000.0, ("a.py",)), broken=(1, 60.0, ("a.py",)))
    assert soak.main([]) == 1
    assert ran == ["broken", "a"]
    assert capsys.readouterr().out.splitlines()[2:] == [
        "1 passed, 1 failed in 0 s; 1 left for the next make soak.",
        "The longest takes 116 min 40 s: make soak BUDGET=117",
    ]
    kept(a=(9, 60.0, ()), b=(2, 7000.0, ("a.py",)), broken=(3, 60.0, ()), gone=(1, 1.0, ()))
    assert soak.main(["117"]) == 0
    assert ran == ["broken", "a", "b"]
    assert capsys.readouterr().out.splitlines() == [
        "b: passed (0 s)",
        "1 passed, 0 failed in 0 s; 0 left for the next make soak.",
        "No test measures gone: delete bench/results/gone.json.",
    ]


def test_a_budget_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["an hour"]) == 1
    assert capsys.readouterr().err == ("BUDGET=an hour: expected whole minutes, as in BUDGET=60.\n")


def test_every_kept_result_of_today_is_of_a_test_or_a_program() -> None:
    known = soak.collected()
    assert known["app/soak"] == ("bench.soak_app",)
    node = "tests/soak/test_edge.py::test_long_headers_fill_no_disk"
    assert known["edge/long-headers-fill-no-disk"] == ("pytest", "-q", node)
    assert not any(name.startswith("keys/") for name in known), "they keep no result"
    assert {*results.names()} <= known.keys()
