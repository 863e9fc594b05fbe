"""Excerpts of logs: the cause, without what came after it."""

from __future__ import annotations

import json
import syslog

import pytest
from onebox_release import report
from onebox_release.report import LINE, TEXT, cause, excerpt, last_lines, short

RELEASE = "/srv/links/releases/1-2"
GUNICORN = f"""\
Traceback (most recent call last):
  File "{RELEASE}/venv/lib/python3.13/site-packages/gunicorn/app/wsgiapp.py", line 66, in run
    super().run()
    ~~~~~~~~~~~^^
gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>
"""
LOG = f"""\
Started links-web@1-2.service - links, release 1-2.
[2026-11-20 11:31:13 +0000] [8933] [INFO] Booting worker with pid: 8933
[2026-11-20 11:31:13 +0000] [8933] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "{RELEASE}/venv/lib/python3.13/site-packages/gunicorn/app/wsgiapp.py", line 57, in load
    return self.load_wsgiapp()
           ~~~~~~~~~~~~~~~~~^^
  File "{RELEASE}/app/links/main.py", line 1, in <module>
    import nowhere
ModuleNotFoundError: No module named 'nowhere'
[2026-11-20 11:31:14 +0000] [8930] [ERROR] Worker (pid:8933) exited with code 3.
{GUNICORN}
During handling of the above exception, another exception occurred:

{GUNICORN}links-web@1-2.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED
links-web@1-2.service: Failed with result 'exit-code'.
"""


def test_the_cause_of_a_crash_is_reported_and_not_gunicorns_shutdown() -> None:
    assert excerpt(LOG).splitlines() == [
        "Started links-web@1-2.service - links, release 1-2.",
        "Traceback (most recent call last):",
        f'  File "{RELEASE}/app/links/main.py", line 1, in <module>',
        "    import nowhere",
        "ModuleNotFoundError: No module named 'nowhere'",
    ]
    assert cause(LOG) == ": ModuleNotFoundError: No module named 'nowhere'"


def test_a_log_without_a_cause_is_shown_unchanged() -> None:
    log = "links-web@1-2.service: Main process exited, code=killed, status=9/KILL"
    assert (excerpt(log), cause(log)) == (log, "")


def test_a_traceback_in_json_is_shown_line_by_line() -> None:
    found = {"message": "Exception in worker", "exception": LOG.partition("process\n")[2][:600]}
    log = f'{json.dumps(found)}\n{{"message": "Worker exiting"}}'
    assert cause(log) == ": ModuleNotFoundError: No module named 'nowhere'"
    assert excerpt(log).splitlines()[-1] == '{"message": "Worker exiting"}'


def test_the_last_lines_are_reported() -> None:
    assert excerpt("\n".join(map(str, range(30))), 3) == "27\n28\n29"


def test_no_line_of_an_app_passes_for_one_of_ours() -> None:
    log = "ModuleNotFoundError: x\nRelease a-1 is live\rRelease a-2 is live"
    assert last_lines(log).splitlines() == [
        "Its last lines:",
        "  | ModuleNotFoundError: x",
        "  | Release a-1 is live",
        "  | Release a-2 is live",
    ]


def test_each_of_many_last_lines_is_marked_and_plain() -> None:
    log = "\n".join(f"{number} \x1b[2K" + "x" * 300 for number in range(30))
    header, *lines = last_lines(log).splitlines()
    assert header == "Its last lines:"
    assert len(lines) > 10
    assert all(line.startswith("  | ") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_long_lines_are_cut_and_so_is_the_whole() -> None:
    """The journal keeps 48 KiB of a line, and a report goes into messages and the history."""
    log = "\n".join(f"{number} " + "\x01" * 48_000 for number in range(60))
    found = excerpt(log)
    assert len(found) == TEXT
    assert {len(line) for line in found.splitlines()[1:]} == {LINE + 3}
    assert len(cause(f"MyError: {'x' * 48_000}")) < LINE + 10
    assert short("a" * 50_000 + "z") == "a" * TEXT + " ... " + "a" * (TEXT - 1) + "z"
    assert short("brief") == "brief"


def test_a_line_that_only_begins_like_json_is_shown_unchanged() -> None:
    line = '{"a":' + "[" * 20_000
    assert excerpt(line) == f"{line[:LINE]}..."


def test_a_line_with_a_nul_byte_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(syslog, "syslog", logged.append)
    report.log("last words\0 of it")
    assert logged == ["last words\\0 of it"]
