"""The preflight's observation of a server, tried on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from sent import server
from sent.server import Listener, Observation, Request

from preflight.facts import ONEBOX_FILES
from tests.unit.hosts import BARE

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_observation_travels_as_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    server.main(json.dumps(asdict(Request(ONEBOX_FILES, {"nobody-has-this": []}, [], 0))))
    observed = Observation.from_json(capsys.readouterr().out)
    for name, value in vars(BARE).items():
        assert isinstance(getattr(observed, name), type(value)), name
    assert observed.name_conflicts == {"nobody-has-this": []}
    assert Observation.from_json(json.dumps(asdict(BARE))) == BARE


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=9,fd=3))', (22, "sshd", "9")),
        ('UNCONN 0 0 [::]:68 [::]:* users:(("a b",pid=9,fd=3))', (68, "a b", "9")),
        ("LISTEN 0 128 *:80 *:*", (80, "?", "?")),
        ('LISTEN 0 1 *:55 *:* users:(("a\nb",pid=7,fd=0))', (55, "a?b", "7")),
        ('LISTEN 0 1 *:55 *:* users:(("\n0 0 0 *:80 b",pid=7,fd=0))', (55, "?0 0 0 *:80 b", "7")),
        ('LISTEN 0 1 *:55 *:* users:(("\x1b[2J",pid=7,fd=0))', (55, "?[2J", "7")),
        ('LISTEN 0 1 *:55 *:* users:(("\ufffd\ufffd",pid=7,fd=0))', (55, "\ufffd\ufffd", "7")),
        ('LISTEN 0 1 *:55 *:* users:((""",pid=7,fd=0))', (55, "?", "?")),
    ],
)
def test_a_listener_has_any_name(
    line: str, found: tuple[int, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = "LISTEN 0 1 127.0.0.1:5432 0.0.0.0:*\nLISTEN 0 1 [::1]:25 [::]:*\n"
    monkeypatch.setattr(server, "output", lambda *_: f"{others}{line}\n{others}")
    assert list(server.sockets("-t")) == [found]


def test_what_a_command_prints_may_be_no_text() -> None:
    assert server.output("printf", r"\377x") == "\ufffdx"


def test_who_holds_apts_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock-frontend"
    monkeypatch.setattr(server, "LOCK", lock)
    monkeypatch.setattr(server, "output", lambda *_: "")
    assert server.apt_lock_holder(["nginx"], 0) == ""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert server.apt_lock_holder(["nginx"], 0).endswith(f" (process {process.pid})")
        process.communicate("")
    assert server.apt_lock_holder(["nginx"], 0) == ""


def test_nobody_waits_for_apt_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "output", lambda *_: "installed\ninstalled\n")
    monkeypatch.setattr(server, "lock_holder", lambda: 7)
    assert server.apt_lock_holder(["nginx", "postgresql"], 0) == ""
    assert server.apt_lock_holder(["nginx", "postgresql", "nftables"], 0) != ""


def test_another_apt_is_waited_for_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    holders = iter([7, 7, 0])
    slept: list[float] = []
    monkeypatch.setattr(server, "output", lambda *_: "")
    monkeypatch.setattr(server, "lock_holder", lambda: next(holders))
    monkeypatch.setattr(time, "sleep", slept.append)
    assert server.apt_lock_holder(["nginx"], 60) == ""
    assert slept == [1, 1]


def test_a_name_is_taken_by_a_folder_a_file_or_a_user(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "unit").touch()
    paths = [str(tmp_path / name) for name in ("srv", "unit", "absent")]
    assert server.name_conflicts("root", paths)[:3] == [
        f"the folder {paths[0]}", f"the file {paths[1]}", "the user root",
    ]  # fmt: skip


def test_what_onebox_began_to_make_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "read", lambda _: "# Made by onebox: the app runs as the first")
    assert server.name_conflicts("root", ["/srv"]) == []


def test_listeners_beyond_loopback_have_a_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        'LISTEN 0 511 *:80 *:* users:(("apache2",pid=812,fd=4),("apache2",pid=811,fd=4))',
        'LISTEN 0 5 127.0.0.1:6010 0.0.0.0:* users:(("sshd",pid=3,fd=9))',
        "LISTEN 0 5 [::]:111 [::]:*",
    ]
    monkeypatch.setattr(server, "output", lambda *_: "\n".join(lines))
    assert list(server.listeners()) == [
        Listener(80, "apache2", "812"),
        Listener(111, "?", "?"),
    ]


def test_a_service_counts_if_it_runs_or_will(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        "apache2": "ActiveState=inactive\nUnitFileState=enabled\n",
        "docker": "ActiveState=active\nUnitFileState=disabled\n",
        "firewalld": "ActiveState=inactive\nUnitFileState=\n",
    }
    monkeypatch.setattr(server, "output", lambda *command: states[command[-1]])
    assert list(server.enabled(server.SERVICES)) == ["apache2", "docker"]
