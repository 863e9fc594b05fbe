"""Changes that could lock everybody out: the revert is armed before the change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.ssh import SSHConnector

from operations import guarded
from operations.files import File, FileStates, write
from operations.guarded import Pending, install, reconnect
from tests.unit.hosts import commands, run, text

FILE = File("/etc/onebox/firewall.nft", "table\n", check="nft -c -f {}")
CALL = {"apply": "systemctl reload x", "revert": "systemctl stop x"}
DISARM = "systemctl stop onebox-revert-firewall.timer && rm -f /etc/onebox/firewall.nft.before"


def test_a_change_is_pending_as_long_as_its_timer_runs() -> None:
    assert Pending().process(["yes"]) is True
    assert Pending().process([]) is False
    assert Pending().default() is False
    assert Pending().command("onebox-revert-firewall") == (
        "systemctl is-active --quiet onebox-revert-firewall.timer && echo yes || true"
    )


def test_an_installed_and_confirmed_file_is_left_alone() -> None:
    facts = {FileStates: {FILE.path: FILE.state}, Pending: False}
    assert commands(install, FILE, **CALL, facts=facts) == []


@pytest.mark.parametrize(
    "states", [{}, {FILE.path: File(FILE.path, "older\n").state}], ids=["missing", "outdated"]
)
def test_the_revert_is_armed_before_the_change(states: dict[str, Any]) -> None:
    arm, change, apply, prove, disarm = commands(
        install, FILE, **CALL, facts={FileStates: states, Pending: False}
    )
    assert text(arm) == (
        "rm -f /etc/onebox/firewall.nft.before; [ ! -e /etc/onebox/firewall.nft ] ||"
        " cp -a /etc/onebox/firewall.nft /etc/onebox/firewall.nft.before;"
        " systemd-run --quiet --unit=onebox-revert-firewall --on-active=60 sh -c"
        " 'if [ -e /etc/onebox/firewall.nft.before ]; then"
        " mv -T /etc/onebox/firewall.nft.before /etc/onebox/firewall.nft; systemctl reload x;"
        " else rm -f /etc/onebox/firewall.nft; systemctl stop x; fi'"
    )
    assert text(change) == text(write(FILE))
    assert text(apply) == "systemctl reload x"
    assert isinstance(prove, FunctionCommand)
    assert prove.function is reconnect
    assert text(disarm) == DISARM


@pytest.mark.parametrize("before", ["older", None])
def test_the_revert_restores_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    file, applied, reverted = tmp_path / "conf", tmp_path / "applied", tmp_path / "reverted"
    if before:
        file.write_text(before)
    arm = guarded._arm("timer", str(file), f"touch {applied}", f"touch {reverted}")
    # Makes the change and reverts it immediately, instead of waiting.
    systemd_run = tmp_path / "systemd-run"
    systemd_run.write_text(f'#!/bin/sh\nshift 3\necho newer > {file}\n"$@"\n')
    systemd_run.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    run(arm)
    assert (file.read_text() if file.exists() else None) == before
    assert applied.exists() is bool(before)
    assert reverted.exists() is not bool(before)


def test_a_change_that_was_never_confirmed_is_reverted_and_repeated() -> None:
    """A run was killed while its timer ran: it may or may not have run `apply`."""
    facts = {FileStates: {FILE.path: FILE.state}, Pending: True}
    undo, arm, *_ = commands(install, FILE, **CALL, facts=facts)
    unit = "onebox-revert-firewall"
    assert text(undo) == f"systemctl start {unit}.service && systemctl stop {unit}.timer"
    assert "systemd-run" in text(arm)


@pytest.mark.parametrize(("error", "tries"), [("Authentication failed.", 1), ("no answer", 2)])
def test_a_refused_key_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: str, tries: int
) -> None:
    tried: list[str] = []
    clock = iter(range(0, 100, 5))

    def refuse(_: object) -> None:
        tried.append(error)
        raise ConnectError(error)

    class Silent:
        def log_styled(self, *_: object, **__: object) -> None:
            pass

    monkeypatch.setattr(SSHConnector, "__init__", lambda *_: None)
    monkeypatch.setattr(SSHConnector, "connect", refuse)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert guarded.reconnect(None, Silent()) is False  # type: ignore[arg-type]
    assert len(tried) == tries
