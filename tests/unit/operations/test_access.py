"""Who gets in is put on record once, and then only by a person's word."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from onebox_release import access as program

from operations.access import Access, foreign, recorded
from operations.difference import Difference
from tests.unit.hosts import commands, stdin

RSA = "AAAAB3NzaC1yc2E="


@pytest.mark.parametrize(
    ("known", "accept", "written"),
    [
        (None, False, True),
        (["a", "b"], False, False),
        (["a"], False, False),
        (["a"], True, True),
        (["a", "b"], True, False),
    ],
)
def test_the_record_is_written_once_or_by_a_persons_word(
    known: list[str] | None, *, accept: bool, written: bool
) -> None:
    facts = {Access: {"now": ["a", "b"], "known": known}}
    found = commands(recorded, accept=accept, facts=facts)
    assert [json.loads(stdin(command)) for command in found] == [["a", "b"]] * written


def test_what_changed_since_is_told() -> None:
    assert foreign({"now": ["a", "c"], "known": ["a", "b"]}) == [
        Difference("c", "is not on record"),
        Difference("b", "is gone"),
    ]
    assert foreign({"now": ["a"], "known": None}) == []


def test_keys_are_told_by_their_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "authorized_keys"
    path.write_text(f'# a comment\n\ncommand="ls -l" ssh-rsa {RSA} me@home\nssh-rsa AAAA!\n')
    assert [kind for kind, _ in program._keys_in(path)] == ["ssh-rsa", "ssh-rsa"]
    assert list(program._keys_in(tmp_path / "none")) == []


def test_listeners_beyond_loopback_are_told_but_for_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=1,fd=5))',
        'LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=2,fd=4))',
        'LISTEN 0 5 127.0.0.1:6010 0.0.0.0:* users:(("sshd",pid=3,fd=9))',
        'LISTEN 0 5 *:8080 *:* users:(("python3",pid=4,fd=3))',
        "LISTEN 0 5 0.0.0.0:111 0.0.0.0:*",
    ]

    class Result:
        stdout = "\n".join(lines)

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Result)
    assert [told for _, _, told in program.listeners()] == [
        "listener on port 22: sshd",
        "listener on port 8080: python3",
        "listener on port 111: ?",
    ]
