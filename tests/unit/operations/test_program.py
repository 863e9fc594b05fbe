"""Programs that are sent, and not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import program
from tests.unit.hosts import run


def test_a_program_is_sent_with_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib/deep").mkdir(parents=True)
    (tmp_path / "lib/words.py").write_text('HELLO = "it\'s $HOME"\n')
    (tmp_path / "lib/deep/more.py").write_text("from lib.words import HELLO\nMORE = HELLO * 2\n")
    (tmp_path / "lib/unused.py").write_text("raise OSError\n")
    (tmp_path / "greet.py").write_text(
        "from __future__ import annotations\n"
        "from lib import words\n"
        "from lib.deep.more import MORE\n"
        "def main(whom: str) -> None:\n"
        "    print(words.HELLO, MORE, whom)\n"
    )
    monkeypatch.setattr(program, "ONHOST", tmp_path)
    expected = ["it's $HOME it's $HOMEit's $HOME a b"]
    assert run(program.sent("greet", "a b")) == expected


@pytest.mark.parametrize("name", ["sent.access", "sent.sshd", "sent.server"])
def test_what_the_deployer_sends_can_be_imported(name: str) -> None:
    assert run(program.sent(name).replace("module.main(*sys.argv[1:])", "0")) == []
