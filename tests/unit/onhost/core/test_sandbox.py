"""A command runs in the sandbox and environment of web."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from onebox_release.app import App
from onebox_release.core import sandbox
from onebox_release.errors import RefusedError

from tests.unit.onhost.fake_server import Server

WEB = """[Unit]
Description=Web
[Service]
Type=exec
ExecStart=/srv/links/releases/%i/venv/bin/python -m gunicorn
Restart=always
KillMode=mixed
TimeoutStopSec=40
User=links
# Why.
EnvironmentFile=/etc/links/releases/%i.env
SystemCallFilter=~@privileged @resources
"""


def test_a_command_shares_all_but_what_web_has_for_itself(app: App) -> None:
    app.web_unit.write_text(WEB)
    assert list(sandbox.properties(app.release("a-1"))) == [
        "TimeoutStopSec=40",
        "User=links",
        "EnvironmentFile=/etc/links/releases/a-1.env",
        "SystemCallFilter=~@privileged @resources",
    ]


def test_a_command_reaches_the_shell_as_it_was_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("a-1", live="a-1")
    server.app.web_unit.write_text(WEB)
    asked: list[list[str]] = []
    real = subprocess.run
    command = """echo "$SECRET" 'a  b' \\`true\\`
exit 7"""

    def called(asked_for: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(asked_for)
        files = [each.partition("File=")[2] for each in asked_for if "EnvironmentFile=/" in each]
        assert Path(files[-1]).stat().st_mode & 0o777 == 0o600
        text = Path(files[-1]).read_text()
        # As systemd reads the file and the arguments, sh reads them, too.
        shell = [each.replace("$$", "$") for each in asked_for[-3:]]
        export = f'{text}\nexport ONEBOX_RUN; exec "$@"'
        return real(["sh", "-c", export, "sh", *shell], check=False, capture_output=True)

    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setenv("SECRET", "it's here")
    assert sandbox.run(server.app, command) == 7
    assert "--property=User=links" in asked[0]
    assert not any("SECRET" in argument for argument in asked[0])
    assert list((server.app.root / "run").glob("onebox-run-*")) == []


def test_a_command_that_waits_is_taken_once(app: App) -> None:
    sandbox.store_command(app, "0" * 32, "echo secret")
    assert app.command("0" * 32).stat().st_mode & 0o777 == 0o600
    assert sandbox.take_command(app, "0" * 32) == "echo secret"
    with pytest.raises(RefusedError, match="no command was stored"):
        sandbox.take_command(app, "0" * 32)


def test_a_command_needs_a_live_release(app: App) -> None:
    with pytest.raises(RefusedError, match="Deploy first"):
        sandbox.run(app, "true")
