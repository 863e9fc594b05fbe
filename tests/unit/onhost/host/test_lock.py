"""The lock of a whole deploy, as its program keeps it: real processes, real pipes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from onebox_release.host import lock

Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 1.0


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Run the program as a deployer does, with paths and a patience of its own."""
    text = Path(lock.__file__).read_text()
    for old, new in [
        ('"/run/onebox.lock"', f'"{tmp_path}/lock"'),
        ('"/var/lib/onebox/hold.json"', f'"{tmp_path}/hold.json"'),
        ('"/var/lib/onebox")', f'"{tmp_path}")'),
        ("PATIENCE = 5 ", f"PATIENCE = {PATIENCE} "),
    ]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "bin").mkdir()
    is_active(tmp_path, code=3)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    started: list[subprocess.Popen[str]] = []

    def run(who: str = "ann at home", wait: float = 0, *apps: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", text, who, str(wait), *apps]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def is_active(tmp_path: Path, *, code: int) -> None:
    path = tmp_path / "bin/systemctl"
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)


def beat(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def refusal(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=5)
    assert process.returncode == lock.LOCKED == 3
    return out.strip()


def test_the_first_has_the_lock_and_the_second_hears_who(start: Start) -> None:
    assert first_line(start()) == "locked"
    told = refusal(start("bob at work"))
    assert re.fullmatch(r"ann at home has held this server's deploy lock for \d s\.", told)


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


def test_missing_heartbeats_release_it_and_heartbeats_hold_it(start: Start) -> None:
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


def test_the_second_waits_and_says_for_whom(start: Start) -> None:
    first = start()
    first_line(first)
    second = start("bob at work", 20)
    told = first_line(second)
    assert told.startswith("ann at home has held this server's deploy lock for ")
    assert told.endswith(" s. Waiting for at most 20 s; Ctrl-C to stop.")
    beat(first, "end")
    first.wait(5)
    beat(second)
    assert first_line(second) == "locked"


def test_waiting_ends(start: Start) -> None:
    first = start()
    first_line(first)
    second = start("bob at work", 0.5)
    assert "Waiting" in first_line(second)
    beat(first)
    assert second.wait(5) == 3
    assert first_line(second).endswith(" s. Gave up after 0 s.")


def test_one_that_waits_and_dies_waits_no_more(start: Start) -> None:
    first = start()
    first_line(first)
    second = start("bob at work", 100)
    first_line(second)
    beat(first)
    assert second.stdin
    second.stdin.close()
    second.stdin = None
    assert second.wait(3) == 0
    silent = start("eve", 100)
    first_line(silent)
    for _ in range(4):
        beat(first)
        time.sleep(PATIENCE / 2)
    assert silent.wait(3) == 0


def test_a_hold_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    hold = {"at": "2026-01-01", "who": "ann", "why": "the sale"}
    (tmp_path / "hold.json").write_text(json.dumps(hold))
    assert "on hold" in refusal(start("bob", 100))


def history(tmp_path: Path, app: str) -> list[str]:
    path = tmp_path / app / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["result"] for line in lines if line.endswith("}")]


@pytest.mark.parametrize("how", ["cut", "silent", "ended"])
def test_a_connection_that_was_lost_is_in_the_history_of_each_app(
    start: Start, tmp_path: Path, how: str
) -> None:
    for app in ("links", "shop"):
        (tmp_path / app).mkdir()
    (tmp_path / "links/history.jsonl").write_text('{"at": "2026-01-01T00:00:00+00:00", "resu')
    process = start("ann at home", 0, "links", "shop", "never-deployed")
    assert first_line(process) == "locked"
    if how == "ended":
        beat(process, "end")
    if how == "cut":
        process.communicate()
    process.wait(PATIENCE + 4)
    expected = [] if how == "ended" else ["interrupted"]
    assert history(tmp_path, "links")[-1:] == history(tmp_path, "shop") == expected
    assert not (tmp_path / "never-deployed").exists()
    if expected:
        entry = json.loads((tmp_path / "shop/history.jsonl").read_text())
        assert (entry["what"], entry["who"]) == ("deploy", "ann at home")
        assert "connection was lost before shop was released" in entry["why"]


def test_what_was_released_before_the_connection_was_lost_is_not_interrupted(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    process = start("ann at home", 0, "links")
    first_line(process)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    (tmp_path / "links/history.jsonl").write_text(
        json.dumps({"at": at, "result": "succeeded"}) + "\n"
    )
    process.communicate()
    assert history(tmp_path, "links") == ["succeeded"]


def test_a_release_that_is_under_way_writes_its_own_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    is_active(tmp_path, code=0)
    process = start("ann at home", 0, "links")
    first_line(process)
    process.communicate()
    assert history(tmp_path, "links") == []


def test_another_app_s_release_blocks_no_deploy(start: Start, tmp_path: Path) -> None:
    is_active(tmp_path, code=0)
    assert first_line(start()) == "locked"


def test_only_root_can_open_the_lock(start: Start, tmp_path: Path) -> None:
    before = os.umask(0o022)
    first_line(start())
    os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_what_disturbs_others_keeps_whole_deploys_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(lock, "HOLD", tmp_path / "hold.json")
    with lock.locked("the restart after updates") as reason:
        assert reason == ""
        assert lock.holder() == "the restart after updates"
        with lock.locked("another") as other:
            assert other.startswith("the restart after updates has held this server")


def test_the_deploys_of_apps_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    busy = "  onebox-release-{}.service loaded active running x\n"
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/systemctl"
    script.write_text(f"#!/bin/sh\nprintf '{busy.format('a-b')}{busy.format('shop')}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(lock, "HOLD", tmp_path / "hold.json")
    found = lock.switching()
    assert found == ["a-b", "shop"]
    monkeypatch.setattr(lock, "switching", lambda: found)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    lock.wait_for_switches(20, print)
    assert now == [20]
    told = "A deploy of a-b, shop is under way. Waiting for at most {} s.\n"
    assert capsys.readouterr().out == told.format(20) + told.format(5)
    lock.HOLD.write_text('{"at": "1", "who": "ann", "why": "no"}')
    lock.wait_for_switches(20, print)
    lock.HOLD.unlink()
    found.clear()
    lock.wait_for_switches(20, print)
    assert now == [20]
