"""What systemd is asked, and how its answers are read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from onebox_release.errors import ReleaseError
from onebox_release.host import systemd

Programs = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Put a shell script in place of a program; return the file with its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> Path:
        asked = folder / f"{name}.asked"
        (folder / name).write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {asked}\n{script}\n")
        (folder / name).chmod(0o755)
        return asked

    return put


def test_a_failure_is_reported_with_systemds_message(program: Programs) -> None:
    asked = program("systemctl", "echo Unit x not found. >&2; exit 5")
    with pytest.raises(ReleaseError, match=r"^systemctl start x: Unit x not found\.$"):
        systemd.systemctl("start", "x")
    assert asked.read_text() == "start\nx\n"


def test_properties_may_have_equals_signs(program: Programs) -> None:
    asked = program("systemctl", "echo A=b=c; echo D=")
    assert systemd.show("x", "A", "D") == {"A": "b=c", "D": ""}
    assert asked.read_text() == "show\n--timestamp=unix\n-p\nA,D\nx\n"


@pytest.mark.parametrize(
    ("state", "up"),
    [("active", True), ("activating", True), ("deactivating", True), ("failed", False),
     ("inactive", False)],
)  # fmt: skip
def test_a_unit_on_its_way_counts_as_up(program: Programs, state: str, *, up: bool) -> None:
    program("systemctl", f"echo ActiveState={state}")
    assert systemd.is_active("x") is up


def test_a_unit_that_systemd_says_nothing_of_is_not_up(program: Programs) -> None:
    program("systemctl", "exit 1")
    assert systemd.is_active("x") is False


def test_a_release_is_up_if_any_of_its_units_is(program: Programs) -> None:
    lines = [
        "links@a-1.target loaded active active Release a-1",
        "links-web@a-1.service loaded active running Web",
        "links-web@b-2.socket loaded active listening Socket",
        "links-queue@c-3.service loaded activating auto-restart queue",
        "links-web@d-4.service loaded failed failed Web",
        "links@e-5.target loaded inactive dead Release",
    ]
    asked = program("systemctl", f"printf '{chr(10).join(lines)}'")
    assert systemd.releases_up("links", ["queue"]) == ["a-1", "b-2", "c-3"]
    assert asked.read_text().split() == [
        "list-units", "--plain", "--no-legend", "--all", "links@*.target", "links-web@*.socket",
        "links-web@*.service", "links-queue@*.service",
    ]  # fmt: skip


def test_units_are_waited_for_until_none_is_left(
    program: Programs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    unit = "links-migrate@a.service"
    monkeypatch.setattr(time, "sleep", slept.append)
    asked = program("systemctl", f'[ "$(wc -l < "$0.asked")" -gt 10 ] || echo {unit} loaded active')
    systemd.wait_until_inactive("links-migrate@*.service")
    listing = [
        "list-units", "--plain", "--no-legend", "--state=activating,active,deactivating",
        "links-migrate@*.service",
    ]  # fmt: skip
    assert asked.read_text().split() == listing * 3
    assert [seconds for seconds in slept if seconds >= 0.5] == [0.5, 0.5]  # others are Python's
    assert capsys.readouterr().err == f"Waiting for {unit} to finish\n"


def test_last_lines_are_of_the_last_start_without_time_stamps(program: Programs) -> None:
    program("systemctl", "echo InvocationID=1a2b")
    asked = program("journalctl", "echo a line")
    assert systemd.journal("x", 7) == "a line\n"
    matches = "_SYSTEMD_INVOCATION_ID=1a2b + INVOCATION_ID=1a2b"
    assert asked.read_text().split() == f"{matches} -n 7 -o cat --no-pager --quiet".split()


def test_last_lines_after_a_cursor_are_of_all_starts_since(program: Programs) -> None:
    asked = program("journalctl", 'echo \'{"__CURSOR": "s=1;i=2"}\'')
    cursor = systemd.cursor()
    systemd.journal("x", 7, after=cursor)
    assert "-u x --after-cursor=s=1;i=2 -n 7" in " ".join(asked.read_text().split())


def test_an_empty_journal_has_no_cursor(program: Programs) -> None:
    program("journalctl", "true")
    assert systemd.cursor() == ""


def test_the_cpu_time_of_a_unit_is_that_of_its_processes_and_ended_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(systemd, "processes", lambda _: [os.getpid(), 2**22 + 1])
    before = systemd.cpu_time("x")
    while time.process_time() < before + 0.1:
        pass
    assert systemd.cpu_time("x") > before


def test_last_lines_may_be_any_bytes(program: Programs) -> None:
    program("journalctl", r"printf 'caf\351\n'")
    assert systemd.journal("x") == "caf\N{REPLACEMENT CHARACTER}\n"


def test_a_unit_without_a_control_group_has_no_processes(program: Programs) -> None:
    program("systemctl", "echo ControlGroup=")
    assert systemd.processes("x") == []
