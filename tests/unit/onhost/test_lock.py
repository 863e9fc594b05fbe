"""The lock of a whole deploy, as its program keeps it: real processes, real pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onebox_release import lock

Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 1.0


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Run the program as a deployer does, with paths and a patience of its own."""
    text = Path(lock.__file__).read_text()
    for old, new in [
        ('"/run/onebox.lock"', f'"{tmp_path}/lock"'),
        ('"/var/lib/onebox/hold.json"', f'"{tmp_path}/hold.json"'),
        ("PATIENCE = 5 ", f"PATIENCE = {PATIENCE} "),
    ]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "bin").mkdir()
    units(tmp_path, "")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    started: list[subprocess.Popen[str]] = []

    def run(who: str = "ann at home") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", text, who]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def units(tmp_path: Path, listed: str) -> None:
    path = tmp_path / "bin/systemctl"
    path.write_text(f"#!/bin/sh\nprintf '{listed}'\n")
    path.chmod(0o755)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def refusal(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=5)
    assert process.returncode == lock.LOCKED == 3
    return out.strip()


def test_the_first_has_the_lock_and_the_second_hears_who(start: Start) -> None:
    assert first_line(start()) == "locked"
    assert refusal(start("bob at work")) == "ann at home is deploying to this server."


def test_the_end_of_the_connection_frees_it(start: Start) -> None:
    first = start()
    assert first_line(first) == "locked"
    first.communicate(timeout=5)
    assert first.returncode == 0
    assert first_line(start("bob at work")) == "locked"


def test_a_killed_holder_frees_it(start: Start) -> None:
    first = start()
    first_line(first)
    first.kill()
    first.wait()
    assert first_line(start()) == "locked"


def test_silence_frees_it_and_beats_keep_it(start: Start) -> None:
    first = start()
    first_line(first)
    assert first.stdin
    for _ in range(4):
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(PATIENCE / 3)
        first.stdin.write("\n")
        first.stdin.flush()
    first.wait(PATIENCE + 4)
    assert first_line(start()) == "locked"


def test_the_patience_is_five_seconds() -> None:
    assert lock.PATIENCE == 5


def test_a_hold_says_since_when_by_whom_and_why(start: Start, tmp_path: Path) -> None:
    hold = {"at": "2026-01-01", "who": "ann", "why": "the sale"}
    (tmp_path / "hold.json").write_text(json.dumps(hold))
    assert refusal(start()) == "Deploys are on hold since 2026-01-01, by ann: the sale"


def test_a_switch_under_way_is_waited_for_though_its_deployer_is_gone(
    start: Start, tmp_path: Path
) -> None:
    units(tmp_path, "onebox-release-links.service loaded active running x\\n")
    assert refusal(start()) == (
        "onebox-release-links.service is still switching releases. Wait for it."
    )


def test_nobody_but_root_can_open_the_lock(start: Start, tmp_path: Path) -> None:
    before = os.umask(0o022)
    first_line(start())
    os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
