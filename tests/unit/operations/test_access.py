"""Who has access is recorded once, and later only if the user accepts it."""

from __future__ import annotations

import base64
import json
import os
import pwd
import subprocess
from pathlib import Path

import pytest
from sent import access as program

from operations.access import (
    Access,
    AccessState,
    Login,
    access_changes,
    authorize_keys,
    managed_user,
    record_access,
)
from operations.difference import Difference
from operations.files import FileStates
from operations.guarded import Pending, reconnect
from tests.unit.hosts import commands, stdin, text
from tests.unit.inventories import a_vm, read

RSA = "AAAAB3NzaC1yc2E="


@pytest.mark.parametrize(
    ("recorded", "accept", "is_written"),
    [
        (None, False, True),
        (["a", "b"], False, False),
        (["a"], False, False),
        (["a"], True, True),
        (["a", "b"], True, False),
    ],
)
def test_access_is_recorded_once_or_if_the_user_accepts_it(
    folder: Path, recorded: list[str] | None, *, accept: bool, is_written: bool
) -> None:
    facts = {Access: AccessState(("a", "b"), None if recorded is None else tuple(recorded))}
    found = commands(record_access, read(folder, a_vm()), accept=accept, facts=facts)
    assert [json.loads(stdin(command)) for command in found] == [["a", "b"]] * is_written


def test_later_changes_are_reported() -> None:
    assert access_changes(AccessState(("a", "c"), ("a", "b"))) == [
        Difference("c", "is not on record"),
        Difference("b", "is gone"),
    ]
    assert access_changes(AccessState(("a",))) == []


def test_keys_are_reported_by_their_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "authorized_keys"
    path.write_text(f'# a comment\n\ncommand="ls -l" ssh-rsa {RSA} me@home\nssh-rsa AAAAA\n')
    assert program.keys_in(path) == [base64.b64decode(RSA), b"AAAAA"]
    with pytest.raises(FileNotFoundError):
        program.keys_in(tmp_path / "none")


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of keys of the server's only user."""
    user = pwd.struct_passwd(("me", "x", os.getuid(), os.getgid(), "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [user])
    monkeypatch.setattr(program, "effective", dict)
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def test_a_key_in_another_file_is_reported_with_the_file(
    me: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ".ssh/authorized_keys /etc/keys/%u %h/more/%U"
    sshd = {"authorizedkeysfile": files, "trustedusercakeys": "/etc/ssh/ca.pub"}
    monkeypatch.setattr(program, "effective", lambda: sshd)
    (me.parent / "more").mkdir()
    for path in (
        me / "authorized_keys",
        me / "authorized_keys2",
        me.parent / f"more/{os.getuid()}",
    ):
        path.write_text(f"ssh-rsa {RSA}\n")
    found = [line.rpartition(": ") for line in [*program.keys()]]
    assert len({digest for *_, digest in found[:3]}) == 1
    assert [where for where, *_ in found] == [
        "SSH key of me",
        "SSH key of me in .ssh/authorized_keys2",
        "SSH key of me in %h/more/%U",
        "sshd lets keys in by trustedusercakeys",
    ]


def test_a_setting_manages_only_the_first_file(me: Path) -> None:
    for name in ("authorized_keys", "authorized_keys2"):
        (me / name).write_text(f"ssh-rsa {RSA}\n")
    [second] = program.without([*program.keys()], "me")
    assert second.startswith("SSH key of me in .ssh/authorized_keys2: SHA256:")


def test_a_file_of_keys_that_is_none_blocks_nothing_and_is_reported(me: Path) -> None:
    os.mkfifo(me / "authorized_keys")
    (me / "authorized_keys2").symlink_to("/dev/zero")
    assert [line.partition(": ")[2].partition(" (")[0] for line in [*program.keys()]] == [
        "can't be read"
    ] * 2


def test_listeners_beyond_loopback_are_reported_except_nginx(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tcp = [
        'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=1,fd=5))',
        'LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=2,fd=4))',
        'LISTEN 0 5 127.0.0.1:6010 0.0.0.0:* users:(("sshd",pid=3,fd=9))',
        'LISTEN 0 5 *:8080 *:* users:(("python3",pid=4,fd=3))',
        "LISTEN 0 5 0.0.0.0:111 0.0.0.0:*",
    ]
    udp = [
        'UNCONN 0 0 0.0.0.0:514 0.0.0.0:* users:(("rsyslogd",pid=5,fd=3))',
        'UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=6,fd=3))',
        'UNCONN 0 0 0.0.0.0:68 0.0.0.0:* users:(("dhclient",pid=7,fd=3))',
        'UNCONN 0 0 0.0.0.0:40001 0.0.0.0:* users:(("dhclient",pid=7,fd=4))',
    ]
    monkeypatch.setattr(program, "EPHEMERAL_PORTS", tmp_path / "range")
    program.EPHEMERAL_PORTS.write_text("32768\t60999\n")
    monkeypatch.setattr(program, "NFT", tmp_path / "none")

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lines = {"-t": tcp, "-u": udp}[command[-1]]
        return subprocess.CompletedProcess(command, 0, stdout="\n".join(lines))

    monkeypatch.setattr(subprocess, "run", run)
    assert list(program.listeners()) == [
        "listener on port 22: sshd",
        "listener on port 8080: python3",
        "listener on port 111: ?",
        "listener on UDP port 514: rsyslogd",
    ]


def test_forwarded_ports_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rules = """
        iifname != "docker0" tcp dport 8080 counter packets 0 bytes 0 dnat to 172.17.0.2:80
        fib daddr type local udp dport { 53, 5353 } dnat ip to 172.17.0.3
        meta l4proto tcp tcp dport 9090 counter packets 3 bytes 180 xt target "DNAT"
        tcp dport { 22, 80, 443 } accept
    """
    monkeypatch.setattr(program, "NFT", tmp_path / "nft")
    assert list(program.forwarded()) == []
    program.NFT.write_text(f"#!/bin/sh\ncat << 'EOF'\n{rules}\nEOF\n")
    program.NFT.chmod(0o755)
    assert list(program.forwarded()) == [
        "forwarded past the firewall: tcp port 8080",
        "forwarded past the firewall: udp port { 53, 5353 }",
        "forwarded past the firewall: tcp port 9090",
    ]


def test_given_keys_are_installed_with_an_automatic_revert(folder: Path) -> None:
    vm = read(folder, a_vm(ssh_user="me", authorized_keys=[f"ssh-rsa {RSA} me@home"]))
    assert managed_user(vm) == "me"
    assert managed_user(read(folder, a_vm())) == ""
    facts = {Login: ["/home/me", "users"], Pending: False, FileStates: {}}
    arm, write, _, prove, _ = commands(authorize_keys, "me", vm.authorized_keys, facts=facts)
    assert "systemd-run" in text(arm)
    assert stdin(write).splitlines()[1:] == [f"ssh-rsa {RSA} me@home"]
    assert "chown me:users" in text(write)
    assert prove.function is reconnect


def test_keys_that_a_setting_manages_are_not_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "RECORD", tmp_path / "access.json")
    monkeypatch.setattr(program, "keys", lambda: ["SSH key of me: a", "SSH key of mee: b"])
    monkeypatch.setattr(program, "sudoers", list)
    monkeypatch.setattr(program, "listeners", list)
    program.main("me")
    assert json.loads(capsys.readouterr().out) == {"now": ["SSH key of mee: b"], "known": None}
    program.RECORD.write_text('["SSH key of me: c"]')
    program.main("me")
    assert json.loads(capsys.readouterr().out)["known"] == []


def test_access_is_read_from_the_programs_output() -> None:
    assert Access().process(['{"now": ["a"], "known": null}']) == AccessState(("a",))
    assert Access().process(['{"now": ["a"], "known": []}']) == AccessState(("a",), ())
