"""Units: restarted or reloaded only if their files changed since."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import systemd
from operations.difference import differences_of
from operations.systemd import PROPERTIES, DropIns, Unit, UnitState, activate, load_drop_in
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


def lines(state: UnitState, **options: bool) -> list[str]:
    found = commands(
        activate, "a.service", reload_for=["/r"], restart_for=["/s"], facts={Unit: state}, **options
    )
    return [text(command) for command in found]


def test_a_unit_is_read_with_the_age_of_its_files() -> None:
    output = [f"{key}={value}" for key, value in GOOD.items()]
    state = Unit().process([*output, "/etc/a=1763612787.1234567890", "/etc/absent="])
    assert state == UnitState(GOOD, {"/etc/a": 1763612787.123456789})


def test_a_missing_unit_has_no_properties() -> None:
    assert Unit().default() == UnitState({}, {})
    assert Unit().process([]) == UnitState(dict.fromkeys(PROPERTIES, ""), {})


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
    ("timestamp", "changed", "older"),
    [
        (STARTED, SECONDS + 0.000_01, True),
        (STARTED, SECONDS, False),
        (STARTED, SECONDS - 0.000_01, False),
        (STARTED, None, False),
        ("", SECONDS, True),
        ("n/a", SECONDS, True),
    ],
)
def test_a_unit_is_older_than_a_file_that_changed_later(
    timestamp: str, changed: float | None, *, older: bool
) -> None:
    state = UnitState({"ActiveEnterTimestamp": timestamp}, {"/s": changed} if changed else {})
    assert state.is_older(["/s"], since="ActiveEnterTimestamp") is older


def test_a_unit_that_is_newer_than_its_files_is_left_alone() -> None:
    assert lines(UnitState(GOOD, {"/r": SECONDS - 1, "/s": SECONDS - 1})) == []


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
    assert lines(UnitState({**GOOD, **properties}, changed)) == expected


def test_a_reload_is_counted_from_the_last_change_of_state() -> None:
    reloaded = {**GOOD, "StateChangeTimestamp": "Fri 2026-11-20 05:00:00.000000 UTC"}
    assert lines(UnitState(reloaded, {"/r": SECONDS + 60})) == []
    assert lines(UnitState(reloaded, {"/s": SECONDS + 60})) == [
        "systemctl daemon-reload && systemctl restart a.service"
    ]


def test_a_unit_that_another_starts_is_not_enabled() -> None:
    assert lines(UnitState({**GOOD, "UnitFileState": "disabled"}, {}), enabled=False) == []


def reported(state: UnitState) -> list[str]:
    found = commands(
        activate, "a.service", reload_for=["/r"], restart_for=["/s"], facts={Unit: state}
    )
    return [f"{d.what} {d.how}" for command in found for d in differences_of(command)]


@pytest.mark.parametrize(
    ("properties", "changed", "words"),
    [
        ({"ActiveState": "inactive"}, {}, ["a.service is inactive"]),
        ({"UnitFileState": "disabled"}, {}, ["a.service does not start at boot"]),
        (
            {"UnitFileState": "masked"},
            {},
            ["a.service is masked", "a.service does not start at boot"],
        ),
        ({"NeedDaemonReload": "yes"}, {}, ["a.service was loaded before its file was changed"]),
        ({}, {"/s": SECONDS + 1}, ["a.service was started before its files were changed"]),
        ({}, {"/r": SECONDS + 1}, ["a.service was loaded before its files were changed"]),
    ],
)
def test_what_a_unit_lacks_is_reported(
    properties: dict[str, str], changed: dict[str, float], words: list[str]
) -> None:
    assert reported(UnitState({**GOOD, **properties}, changed)) == words


def test_a_unit_whose_work_is_not_in_effect_is_reported() -> None:
    assert reported(UnitState(GOOD, {}, is_in_effect=False)) == [
        "a.service is active, but not in effect"
    ]


def test_a_masked_unit_is_unmasked_first() -> None:
    unmask, enable = lines(UnitState({**GOOD, "UnitFileState": "masked"}, {}))
    assert unmask == (
        "systemctl unmask --quiet a.service; systemctl unmask --quiet --runtime a.service"
    )
    assert enable == "systemctl enable --quiet a.service"


def test_drop_ins_of_others_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "BY_HAND", (str(tmp_path / "etc"), str(tmp_path / "run")))
    for path in ("etc/a@1.service.d", "run/a@.service.d", "etc/b.service.d"):
        (tmp_path / path).mkdir(parents=True)
    for path in ("etc/a@1.service.d/onebox.conf", "etc/b.service.d/c.conf"):
        (tmp_path / path).touch()
    theirs = [tmp_path / "etc/a@1.service.d/x.conf", tmp_path / "run/a@.service.d/y.conf"]
    aside = tmp_path / "run/a@.service.d/z.conf.set-aside"
    for file in (*theirs, aside):
        file.touch()
    _, _, look = Unit().command("a@1.service", []).partition("; ")
    state = Unit().process(run(look))
    assert sorted(state.overrides) == sorted(map(str, theirs))
    assert state.changed == {str(aside): pytest.approx(aside.stat().st_ctime, abs=1e-3)}


def test_what_overrides_a_unit_is_set_aside_and_the_unit_restarted() -> None:
    path = "/etc/systemd/system/a.service.d/x.conf"
    restart = "systemctl daemon-reload && systemctl restart a.service"
    state = UnitState(GOOD, {}, overrides=(path,))
    assert lines(state) == [f"mv -T {path} {path}.set-aside", restart]
    assert reported(state)[0] == f"{path} overrides a.service"
    # The next run completes one that was killed in between.
    assert lines(UnitState(GOOD, {f"{path}.set-aside": SECONDS + 1})) == [restart]
    assert lines(UnitState(GOOD, {f"{path}.set-aside": SECONDS - 1})) == []


def test_a_drop_in_of_anothers_unit_is_loaded() -> None:
    path = "/etc/systemd/system/nftables.service.d/onebox.conf"
    [command] = commands(load_drop_in, "nftables.service", path, facts={DropIns: []})
    assert text(command) == "systemctl daemon-reload"
    assert commands(load_drop_in, "nftables.service", path, facts={DropIns: [path]}) == []
    assert DropIns().process([f"/lib/a.conf {path}"]) == ["/lib/a.conf", path]
    assert DropIns().default() == DropIns().process([""]) == []
