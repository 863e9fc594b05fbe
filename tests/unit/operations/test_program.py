"""Programs that are sent, and not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import program
from tests.unit.hosts import run


def test_a_program_is_sent_with_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.py").write_text('HELLO = "it\'s $HOME"\n')
    (tmp_path / "greet.py").write_text(
        "from __future__ import annotations\n"
        "from . import words\n"
        "def main(whom: str) -> None:\n"
        "    print(words.HELLO, whom)\n"
    )
    monkeypatch.setattr(program, "PACKAGE", tmp_path)
    assert run(program.sent("words", "greet", arguments=("a b",))) == ["it's $HOME a b"]


def test_what_the_deployer_sends_imports_nothing_else() -> None:
    for names in (
        ("errors", "untrusted", "preflight", "access"),
        ("errors", "untrusted", "preflight", "access", "sshd"),
    ):
        text = program.sent(*names).replace("module.main(*sys.argv[1:])", "0")
        assert run(text) == []
