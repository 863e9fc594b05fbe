"""Changes that could lock everybody out: the way back is there before the change."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pyinfra.api.command import FunctionCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.ssh import SSHConnector

from operations import guarded
from operations.files import File, Standing, write
from operations.guarded import Pending, connect_anew, place
from tests.unit.hosts import commands, run, text

FILE = File("/etc/onebox/firewall.nft", "table\n", check="nft -c -f {}")
CALL = {"apply": "systemctl reload x", "withdraw": "systemctl stop x"}
DISARM = "systemctl stop onebox-way-back-firewall.timer && rm -f /etc/onebox/firewall.nft.before"


def test_a_change_waits_as_long_as_its_timer_runs() -> None:
    assert Pending().process(["yes"]) is True
    assert Pending().process([]) is False
    assert Pending().default() is False
    assert Pending().command("onebox-way-back-firewall") == (
        "systemctl is-active --quiet onebox-way-back-firewall.timer && echo yes || true"
    )


def test_what_stands_and_was_proven_is_left_alone() -> None:
    facts = {Standing: {FILE.path: FILE.state}, Pending: False}
    assert commands(place, FILE, **CALL, facts=facts) == []


def test_the_way_back_is_armed_before_the_change() -> None:
    arm, change, apply, prove, disarm = commands(
        place, FILE, **CALL, facts={Standing: {}, Pending: False}
    )
    assert text(arm) == (
        "rm -f /etc/onebox/firewall.nft.before; [ ! -e /etc/onebox/firewall.nft ] ||"
        " cp -a /etc/onebox/firewall.nft /etc/onebox/firewall.nft.before;"
        " systemd-run --quiet --unit=onebox-way-back-firewall --on-active=60 sh -c"
        " 'if [ -e /etc/onebox/firewall.nft.before ]; then"
        " mv -T /etc/onebox/firewall.nft.before /etc/onebox/firewall.nft; systemctl reload x;"
        " else rm -f /etc/onebox/firewall.nft; systemctl stop x; fi'"
    )
    assert text(change) == text(write(FILE))
    assert text(apply) == "systemctl reload x"
    assert isinstance(prove, FunctionCommand)
    assert prove.function is connect_anew
    assert text(disarm) == DISARM


@pytest.mark.parametrize("before", ["older", None])
def test_the_way_back_leads_to_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    file, applied, withdrawn = tmp_path / "conf", tmp_path / "applied", tmp_path / "withdrawn"
    if before:
        file.write_text(before)
    arm = guarded._arm("timer", str(file), f"touch {applied}", f"touch {withdrawn}")
    # In place of waiting, the change is made and taken back at once.
    systemd_run = tmp_path / "systemd-run"
    systemd_run.write_text(f'#!/bin/sh\nshift 3\necho newer > {file}\n"$@"\n')
    systemd_run.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    run(arm)
    assert (file.read_text() if file.exists() else None) == before
    assert applied.exists() is bool(before)
    assert withdrawn.exists() is not bool(before)


def test_a_change_that_was_never_proven_is_undone_and_made_anew() -> None:
    """A run died with its timer running: whether `apply` was reached, nobody knows."""
    facts = {Standing: {FILE.path: FILE.state}, Pending: True}
    undo, arm, *_ = commands(place, FILE, **CALL, facts=facts)
    unit = "onebox-way-back-firewall"
    assert text(undo) == f"systemctl start {unit}.service && systemctl stop {unit}.timer"
    assert "systemd-run" in text(arm)


@pytest.mark.parametrize(("told", "tries"), [("Authentication failed.", 1), ("no answer", 2)])
def test_a_refused_key_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, told: str, tries: int
) -> None:
    tried: list[str] = []
    clock = iter(range(0, 100, 5))

    def refuse(_: object) -> None:
        tried.append(told)
        raise ConnectError(told)

    class Silent:
        def log_styled(self, *_: object, **__: object) -> None:
            pass

    monkeypatch.setattr(SSHConnector, "__init__", lambda *_: None)
    monkeypatch.setattr(SSHConnector, "connect", refuse)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert guarded.connect_anew(None, Silent()) is False  # type: ignore[arg-type]
    assert len(tried) == tries
