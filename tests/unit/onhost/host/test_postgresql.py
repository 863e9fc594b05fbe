"""psql in an administrator's terminal."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest
from onebox_release.host import postgresql


def test_psql_reads_nothing_of_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, str]]] = []

    def called(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        asked.append((command, given["env"]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("PGOPTIONS", "-c x=y")
    monkeypatch.setenv("TERM", "xterm")
    assert postgresql.prompt("links", role="links")
    [(command, environment)] = asked
    assert command[3:5] == ["--", "psql"]
    assert "-X" in command
    assert {n: environment[n] for n in ("HOME", "PSQLRC", "PSQL_HISTORY", "TERM")} == {
        "HOME": "/nonexistent", "PSQLRC": "/dev/null", "PSQL_HISTORY": "/dev/null", "TERM": "xterm"
    }  # fmt: skip
    assert "PGOPTIONS" not in environment
