"""Deploy keys get our message of why packages failed, administrators uv's output."""

from __future__ import annotations

import syslog

import pytest
from onebox_release.install import failures
from onebox_release.install.credentials import Credentials

SECRET = "SECRET_KEY=hunter2"  # noqa: S105 - what must not be seen
LINE = "Running as unit: onebox-build-links.service\n{}\nFinished with result: exit-code\n"


def told(text: str, why: str = "", *, by_key: bool, secret: str = "") -> str:
    given = Credentials({"UV_INDEX_CORP_PASSWORD": secret})
    return failures.message(LINE.format(text), why, {"fastapi", "evil.name"}, given, by_key=by_key)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("error: The lockfile at `uv.lock` needs to be updated", "run `uv lock`."),
        ("x Failed to download `fastapi==1`\n Hash mismatch for", "match its hash (fastapi)."),
        ("Distribution `evil-name==1` doesn't have a source", "and `build` is off (evil-name)."),
        ("`evil-name==1` ... `--no-build` but has no binary distribution", "is off (evil-name)."),
        ("x Failed to build `fastapi==1`", "could not be built (fastapi)."),
        ("HTTP status client error (404 Not Found)", "not found on its index."),
        ("error sending request ... dns error", "could not be reached."),
        ("No space left on device (os error 28)", "it ran out of space."),
        ("something else", "uv failed."),
    ],
)
def test_a_deploy_key_gets_the_kind_of_failure_and_the_package(text: str, says: str) -> None:
    found = told(f"{text}\n  | {SECRET}", by_key=True)
    assert found.startswith("The packages could not be installed: ")
    assert found.endswith(says)
    assert SECRET not in found


def test_uvs_output_is_in_the_journal_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lines.append)
    told("error: a\nb", by_key=True)
    assert lines == ["uv: error: a", "uv: b"]


def test_an_administrator_reads_uvs_output_without_credentials() -> None:
    found = told("401 for https://me:s3cret@host/", by_key=False, secret="s3cret")
    assert found == "uv could not install the packages:\n401 for https://me:***@host/"


def test_why_it_was_stopped_is_reported_to_both() -> None:
    for by_key in (True, False):
        assert "the disk is nearly full" in told("x", failures.NO_ROOM, by_key=by_key)


def test_no_control_character_reaches_a_terminal() -> None:
    text = failures.escape("a\x1b[2Jb\rc\x9b\u202e\nd\te")
    assert text == "a\\x1b[2Jb\\rc\\x9b\\u202e\nd\te"
