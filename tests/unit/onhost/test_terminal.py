"""What a person reads: nothing in it is for the terminal but our own colours."""

from __future__ import annotations

import pytest
from onebox_checks import messages
from onebox_checks.state import Problem
from onebox_release import report, terminal
from onebox_release.core import history
from onebox_release.shell import logs

from commands import summary

PROBLEM = Problem("answer:links", "\x1b[2Jgone", "", patient=False, urgent=False, mark="", since=0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ümlaut\tand\nlines", "plain, ümlaut\tand\nlines"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("over\rwritten\x08", "over\\rwritten\\x08"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_what_an_app_wrote_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert terminal.printable(text) == shown


def test_every_output_for_users_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syslog.syslog", lambda _: None)
    bad = "\x1b[2Jgone"
    report.log(bad)
    told = capsys.readouterr().err
    summary.report("box", [bad])
    texts = [
        told,
        capsys.readouterr().out,
        terminal.rows([("last", bad, "")]),
        terminal.table([(bad, "x")]),
        str(logs.Line(0, "web", f"{bad}\n2026-11-20T10:00:00.000Z nginx not mine")),
        history.render([{"at": "2026-11-20T10:00:00+00:00", "what": "deploy", "release": "r",
                       "result": "failed", "why": bad}]),
        messages.first(bad),
        messages.describe(PROBLEM, "box"),
    ]  # fmt: skip
    for text in texts:
        assert "\x1b" not in text
        assert "\\x1b[2Jgone" in text
    assert texts[4].splitlines()[1].startswith(" " * 36)
