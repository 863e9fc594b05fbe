"""Units: restarted or reloaded only where what runs is older than what stands on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.systemd import PROPERTIES, State, Unit, running
from tests.unit.hosts import commands, run, text

STARTED = "Fri 2026-11-20 04:26:27.500000 UTC"
SECONDS = 1795148787.5
GOOD = {
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "StateChangeTimestamp": STARTED,
    "ActiveEnterTimestamp": STARTED,
}


def lines(state: State, **options: bool) -> list[str]:
    found = commands(
        running, "a.service", reload_for=["/r"], restart_for=["/s"], facts={Unit: state}, **options
    )
    return [text(command) for command in found]


def test_a_unit_is_read_with_the_age_of_its_files() -> None:
    output = [f"{key}={value}" for key, value in GOOD.items()]
    state = Unit().process([*output, "/etc/a=1763612787.1234567890", "/etc/absent="])
    assert state == State(GOOD, {"/etc/a": 1763612787.123456789})


def test_a_unit_that_is_not_there_has_no_properties() -> None:
    assert Unit().default() == State({}, {})
    assert Unit().process([]) == State(dict.fromkeys(PROPERTIES, ""), {})


def test_the_command_asks_for_properties_and_ages(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    paths = [str(tmp_path / "link"), str(tmp_path / "absent")]
    command = Unit().command("a.service", paths)
    show, _, ages = command.partition("; ")
    assert show == f"systemctl show --timestamp=us+utc -p {','.join(PROPERTIES)} a.service"
    newest = max((tmp_path / name).stat().st_ctime for name in ("folder", "folder/file"))
    assert Unit().process(run(ages)).changed == {paths[0]: pytest.approx(newest, abs=1e-3)}


@pytest.mark.parametrize(
    ("timestamp", "changed", "behind"),
    [
        (STARTED, SECONDS + 0.000_01, True),
        (STARTED, SECONDS, False),
        (STARTED, SECONDS - 0.000_01, False),
        (STARTED, None, False),
        ("", SECONDS, True),
        ("n/a", SECONDS, True),
    ],
)
def test_a_unit_is_behind_a_file_that_changed_later(
    timestamp: str, changed: float | None, *, behind: bool
) -> None:
    state = State({"ActiveEnterTimestamp": timestamp}, {"/s": changed} if changed else {})
    assert state.is_behind(["/s"], since="ActiveEnterTimestamp") is behind


def test_a_unit_that_runs_what_stands_is_left_alone() -> None:
    assert lines(State(GOOD, {"/r": SECONDS - 1, "/s": SECONDS - 1})) == []


@pytest.mark.parametrize(
    ("properties", "changed", "expected"),
    [
        ({}, {"/r": SECONDS + 1}, ["systemctl reload a.service"]),
        ({}, {"/s": SECONDS + 1}, ["systemctl daemon-reload && systemctl restart a.service"]),
        (
            {},
            {"/r": SECONDS + 1, "/s": SECONDS + 1},
            ["systemctl daemon-reload && systemctl restart a.service"],
        ),
        ({"ActiveState": "failed"}, {}, ["systemctl daemon-reload && systemctl restart a.service"]),
        ({"NeedDaemonReload": "yes"}, {}, ["systemctl daemon-reload"]),
        ({"UnitFileState": "disabled"}, {}, ["systemctl enable --quiet a.service"]),
        ({"UnitFileState": "static"}, {}, []),
        (
            {"NeedDaemonReload": "yes", "UnitFileState": "", "ActiveState": "inactive"},
            {},
            [
                "systemctl daemon-reload",
                "systemctl enable --quiet a.service",
                "systemctl daemon-reload && systemctl restart a.service",
            ],
        ),
    ],
)
def test_what_a_unit_lacks_is_done(
    properties: dict[str, str], changed: dict[str, float], expected: list[str]
) -> None:
    assert lines(State({**GOOD, **properties}, changed)) == expected


def test_a_reload_is_counted_from_the_last_change_of_state() -> None:
    reloaded = {**GOOD, "StateChangeTimestamp": "Fri 2026-11-20 05:00:00.000000 UTC"}
    assert lines(State(reloaded, {"/r": SECONDS + 60})) == []
    assert lines(State(reloaded, {"/s": SECONDS + 60})) == [
        "systemctl daemon-reload && systemctl restart a.service"
    ]


def test_a_unit_that_another_starts_is_not_enabled() -> None:
    assert lines(State({**GOOD, "UnitFileState": "disabled"}, {}), enabled=False) == []
