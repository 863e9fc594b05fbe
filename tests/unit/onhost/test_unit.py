"""The unit that a deploy runs in: its command line, its words and its exit code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from onebox_release import systemd, unit
from onebox_release.errors import LockedError
from onebox_release.places import Places


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No unit is running; return where a systemd-run of ours goes."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "is_active", lambda _: False)
    return tmp_path / "bin/systemd-run"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_command_line_is_exact(places: Places, idle: Path, tmp_path: Path) -> None:
    script(idle, f"printf '%s\\n' \"$@\" > {tmp_path / 'asked'}")
    assert unit.run(places, ["deploy", "links", "abc"]) == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--quiet",
        "--wait",
        "--collect",
        "--unit=onebox-release-links.service",
        "--property=Type=exec",
        f"--property=StandardError=append:{places.progress}",
        "--property=ExecStopPost=/usr/local/bin/onebox-release recover links --inside",
        "--property=TimeoutStopSec=infinity",
        "--property=SyslogIdentifier=onebox-release",
        "/usr/local/bin/onebox-release",
        "deploy",
        "links",
        "abc",
        "--inside",
    ]


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_exit_code_and_words_are_passed_on(
    places: Places, idle: Path, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    script(idle, f"echo first >> {places.progress}; echo last >> {places.progress}; exit {code}")
    places.progress.write_text("of an earlier deploy\n")
    assert unit.run(places, []) == code
    assert capsys.readouterr() == ("", "first\nlast\n")


def test_a_unit_that_runs_already_is_a_lock(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "is_active", lambda _: True)
    with pytest.raises(LockedError, match=r"under way on this server. Follow it: tail -f /"):
        unit.run(places, [])
    assert LockedError.code == 3


@pytest.mark.xfail(
    strict=True, reason="between the look and systemd-run: exit code 1, and its progress is emptied"
)
def test_the_second_of_two_at_the_same_moment_is_locked_out(places: Places, idle: Path) -> None:
    places.progress.write_text("of the first\n")
    script(idle, "echo 'Unit onebox-release-links.service was already loaded' >&2; exit 1")
    try:
        code = unit.run(places, [])
    except LockedError as error:
        code = error.code
    assert (code, places.progress.read_text()) == (3, "of the first\n")


def test_an_interrupt_leaves_the_unit_alone_and_says_where_to_look(
    places: Places,
    idle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt

    script(idle, "exec sleep 10")
    monkeypatch.setattr(unit, "_follow", interrupt)
    assert unit.run(places, []) != 0
    assert "The server goes on by itself. Follow it: tail -f" in capsys.readouterr().err


@pytest.mark.xfail(strict=True, reason="every local user may read an app's last lines there")
def test_progress_is_for_root_alone(places: Places, idle: Path) -> None:
    script(idle, "exit 0")
    before = os.umask(0o022)
    unit.run(places, [])
    os.umask(before)
    assert places.progress.stat().st_mode & 0o077 == 0


def test_a_text_is_followed_to_its_end(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    places.progress.write_text("")
    command = f"for i in 1 2 3; do echo ünï $i >> {places.progress}; sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", command]) as process:
        unit._follow(places.progress, process)
    assert capsys.readouterr().err == "ünï 1\nünï 2\nünï 3\n"
