"""Slices: limits that differ are applied, and nothing is restarted for them."""

from __future__ import annotations

import pytest

from operations.difference import Difference, differences_of
from operations.slices import Slices, SlicesState, apply_limits
from tests.unit.hosts import commands, text

LIMITS = {"onebox.slice": {"MemoryMax": "100"}, "onebox-links.slice": {"TasksMax": "64"}}
GOOD = {
    "onebox.slice": {"ActiveState": "active", "NeedDaemonReload": "no", "MemoryMax": "100"},
    "onebox-links.slice": {"ActiveState": "active", "NeedDaemonReload": "no", "TasksMax": "64"},
}


def lines(state: SlicesState) -> list[str]:
    found = commands(apply_limits, LIMITS, facts={Slices: state})
    assert all(differences_of(command) for command in found if "daemon-reload" not in text(command))
    return [text(command) for command in found]


def test_slices_are_read_with_the_drop_ins_of_others() -> None:
    output = [
        "MemoryMax=1", "TasksMax=2", "Id=onebox.slice", "ActiveState=active", "",
        "MemoryMax=3", "TasksMax=4", "Id=onebox-links.slice", "ActiveState=active",
        "/etc/systemd/system/onebox.slice.d/onebox.conf",
        "/etc/systemd/system.control/onebox.slice.d/50-MemoryMax.conf",
    ]  # fmt: skip
    state = Slices().process(output)
    assert state.properties["onebox-links.slice"]["MemoryMax"] == "3"
    assert state.properties["onebox.slice"]["TasksMax"] == "2"
    assert state.overrides == ("/etc/systemd/system.control/onebox.slice.d/50-MemoryMax.conf",)


def test_limits_that_apply_are_left_alone() -> None:
    assert lines(SlicesState(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"MemoryMax": "99"}, "has MemoryMax 99, not 100"),
        ({"NeedDaemonReload": "yes"}, "has changed files that systemd has not loaded"),
    ],
)
def test_a_changed_limit_is_applied_without_a_restart(change: dict[str, str], how: str) -> None:
    state = SlicesState({**GOOD, "onebox.slice": {**GOOD["onebox.slice"], **change}})
    assert lines(state) == ["systemctl daemon-reload"]
    [reload] = commands(apply_limits, LIMITS, facts={Slices: state})
    assert differences_of(reload) == (Difference("onebox.slice", how),)


def test_an_override_is_set_aside_and_nothing_is_restarted() -> None:
    path = "/etc/systemd/system.control/onebox.slice.d/50-MemoryMax.conf"
    assert lines(SlicesState(GOOD, (path,))) == [
        f"mv -T {path} {path}.set-aside", "systemctl daemon-reload",
    ]  # fmt: skip


def test_an_inactive_slice_is_started() -> None:
    found = lines(SlicesState())
    assert found == ["systemctl daemon-reload", "systemctl start onebox.slice onebox-links.slice"]
