"""What our drop-in of sshd sets, and that it is in effect."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from sent import sshd as program

from operations.difference import Difference, differences_of
from operations.sshd import Sshd, SshdState, check_effective, differences, options
from settings import VM
from tests.unit.hosts import commands
from tests.unit.inventories import a_vm, read

DEBIAN_13 = {
    "permitrootlogin": "without-password",
    "authorizedkeysfile": ".ssh/authorized_keys .ssh/authorized_keys2",
    "logingracetime": "120",
    "maxstartups": "10:30:100",
    "persourcemaxstartups": "none",
    "persourcenetblocksize": "32:128",
    "persourcepenalties": "crash:90 authfail:5 max:600 min:15",
}
OURS = {
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "X11Forwarding": "no",
    "DenyGroups": "onebox-nologin",
    "PermitRootLogin": "prohibit-password",
    "AuthorizedKeysFile": ".ssh/authorized_keys",
    "LoginGraceTime": "30",
    "MaxStartups": "60:30:200",
    "PerSourceMaxStartups": "10",
    "PerSourceNetBlockSize": "32:48",
    "PerSourcePenalties": "max:60",
}


@pytest.fixture
def vm(folder: Path) -> VM:
    return read(folder, a_vm(ssh_user="me"))


def ours(vm: VM, *second: str, **own: str) -> dict[str, str]:
    return options(vm, SshdState(own={**DEBIAN_13, **own}, users_of_second_file=second))


def test_a_server_as_debian_leaves_it_gets_all(vm: VM) -> None:
    assert ours(vm) == OURS


def test_debian_12_has_no_penalties(vm: VM) -> None:
    assert "PerSourcePenalties" not in ours(vm, persourcepenalties="")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PermitRootLogin", "no"),
        ("PermitRootLogin", "forced-commands-only"),
        ("AuthorizedKeysFile", "/etc/ssh/keys/%u"),
        ("LoginGraceTime", "20"),
        ("MaxStartups", "5:50:20"),
        ("PerSourceMaxStartups", "3"),
        ("PerSourceNetBlockSize", "24:48"),
        ("PerSourcePenalties", "max:30"),
    ],
)
def test_the_servers_own_setting_is_not_loosened(vm: VM, setting: str, value: str) -> None:
    assert ours(vm, **{setting.lower(): value}) == {
        name: value for name, value in OURS.items() if name != setting
    }


@pytest.mark.parametrize(
    ("setting", "value"), [("logingracetime", "0"), ("permitrootlogin", "yes")]
)
def test_a_looser_one_is_tightened(vm: VM, setting: str, value: str) -> None:
    assert ours(vm, **{setting: value}) == OURS


def test_root_who_deploys_is_never_shut_out(folder: Path) -> None:
    root = read(folder, a_vm())
    assert ours(root, permitrootlogin="no")["PermitRootLogin"] == "prohibit-password"


def test_nobodys_second_file_of_keys_is_ignored_but_his_whose_keys_are_set(
    folder: Path, vm: VM
) -> None:
    assert "AuthorizedKeysFile" not in ours(vm, "me")
    key = "ssh-rsa AAAAB3NzaC1yc2E= me@home"
    decided = read(folder, a_vm(ssh_user="me", authorized_keys=[key]))
    assert ours(decided, "me") == OURS
    assert "AuthorizedKeysFile" not in ours(decided, "me", "you")


def effective(**changes: str) -> dict[str, str]:
    return {
        **{name.lower(): value for name, value in OURS.items()},
        "permitrootlogin": "without-password",
        "denygroups": "others onebox-nologin",
        "persourcepenalties": "authfail:5 max:60 min:15",
        **changes,
    }


def test_nothing_is_done_where_the_drop_in_is_in_effect() -> None:
    assert commands(check_effective, OURS, facts={Sshd: SshdState(effective())}) == []


def test_a_setting_that_is_not_in_effect_stops_the_run() -> None:
    other = effective(passwordauthentication="yes", denygroups="others")
    expected = [
        Difference("sshd", "PasswordAuthentication is yes, not no"),
        Difference("sshd", "DenyGroups is others, not onebox-nologin"),
    ]
    assert differences(other, OURS) == expected
    [command] = commands(check_effective, OURS, facts={Sshd: SshdState(other)})
    assert differences_of(command) == tuple(expected)
    messages: list[str] = []

    class Named:
        def log_styled(self, message: str, **_: Any) -> None:
            messages.append(message)

    assert command.function(None, Named(), *command.args) is False
    assert "PasswordAuthentication is yes, not no" in messages[0]
    assert "first line of /etc/ssh/sshd_config" in messages[0]


def test_no_app_has_a_say_in_which_files_of_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys2").write_text("ssh-rsa AAAAB3NzaC1yc2E=\n")
    ids = os.getuid(), os.getgid()
    users = [
        pwd.struct_passwd((name, "x", *ids, "", str(tmp_path), shell))
        for name, shell in [("me", "/bin/bash"), ("app", "/usr/sbin/nologin")]
    ]
    assert [user.pw_name for user in users if program._has_second(user)] == ["me"]


def test_a_configuration_that_sshd_refuses_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "CONFIGURATION", tmp_path / "sshd_config")
    program.CONFIGURATION.write_text("Nonsense yes\n")
    monkeypatch.setattr("sent.access.effective", lambda *_, **__: {})
    with pytest.raises(SystemExit, match="sshd -T fails"):
        program.main()


def test_their_settings_are_read_without_our_drop_in(tmp_path: Path) -> None:
    folder = tmp_path / "sshd_config.d"
    folder.mkdir()
    for name in ("00-onebox.conf", "50-cloud.conf", "60 own.conf"):
        (folder / name).write_text("")
    text = "Port 22\nInclude sshd_config.d/*.conf # all\nPermitRootLogin no\n"
    assert program.without(text, folder / "00-onebox.conf").splitlines() == [
        "Port 22",
        f'Include "{folder}/50-cloud.conf"',
        f'Include "{folder}/60 own.conf"',
        "PermitRootLogin no",
    ]
    absolute = f"include={folder}/*.conf"
    assert "00-onebox" not in program.without(absolute, folder / "00-onebox.conf")
