"""Timers and their schedules: taken as systemd takes them, and refused values."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.inventories import a_vm, an_app, read, report

Refusal = Callable[..., str]
SCHEDULES = [
    "daily", "hourly", "Mon..Fri 07:30", "*-*-* 03:00:00", "*:0/15", "Sat,Sun 10:00 UTC",
    "*-*-01 04:00 Europe/Berlin", "Mon *-05~07/1 12:00", "2027-01-01", "*:*:0/2", "Sun",
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_taken(folder: Path, schedule: str) -> None:
    timer = {"name": "report", "command": "x", "schedule": schedule}
    [app] = read(folder, a_vm(an_app(timers=[timer]))).apps
    assert app.timers[0].schedule == schedule


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_systemd_takes_what_is_taken_here(schedule: str) -> None:
    command = ["systemd-analyze", "calendar", schedule]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no systemd on this machine")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "schedule", ["", "every day", "0 3 * * *", "7:30pm", "daily\n", "Foo 1:00"]
)
def test_a_schedule_that_systemd_does_not_know_is_refused(refusal: Refusal, schedule: str) -> None:
    timer = {"name": "report", "command": "x", "schedule": schedule}
    assert "a time in the format of systemd's OnCalendar=" in refusal(a_vm(an_app(timers=[timer])))


@pytest.mark.parametrize("names", [["report", "report"], ["queue"]])
def test_two_of_one_name_are_refused(refusal: Refusal, names: list[str]) -> None:
    timers = [{"name": name, "command": "x", "schedule": "daily"} for name in names]
    app = an_app(processes=[{"name": "queue", "command": "x"}], timers=timers)
    assert refusal(a_vm(app)) == report(
        "apps[0].timers",
        "a unique name for each timer and process",
        names[-1],
        "rename one of them",
    )
