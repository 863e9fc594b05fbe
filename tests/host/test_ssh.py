"""SSH logins."""

from __future__ import annotations

import subprocess

import pytest

from .connection import Host, Server, owner_and_mode


@pytest.fixture(scope="session")
def sshd(host: Host) -> dict[str, str]:
    """sshd's effective configuration."""
    lines = host.check_output("/usr/sbin/sshd -T").splitlines()
    return dict(line.partition(" ")[::2] for line in lines)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("pubkeyauthentication", "yes"),
        ("x11forwarding", "no"),
    ],
)
def test_sshd_allows_keys_only(sshd: dict[str, str], option: str, value: str) -> None:
    assert sshd[option] == value


def test_root_logs_in_with_a_key_or_not_at_all(sshd: dict[str, str]) -> None:
    # without-password is sshd's older name of prohibit-password.
    assert sshd["permitrootlogin"] in {"without-password", "forced-commands-only", "no"}


def test_users_of_apps_are_denied(sshd: dict[str, str]) -> None:
    assert "onebox-nologin" in sshd["denygroups"].split()


def test_connections_per_address_are_limited(sshd: dict[str, str]) -> None:
    assert sshd["persourcemaxstartups"] != "none"
    assert 0 < int(sshd["logingracetime"]) <= 30


def test_sshd_drop_in_is_in_effect(host: Host, sshd: dict[str, str]) -> None:
    text = host.file("/etc/ssh/sshd_config.d/00-onebox.conf").content_string
    lines = text.partition("Match ")[0].splitlines()
    options = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    synonyms = {"prohibit-password": "without-password"}
    for name, value in options:
        effective = sshd[name.lower()]
        assert effective == synonyms.get(value, value) or value in effective.split()


def test_unused_connections_of_deploy_keys_are_closed(host: Host) -> None:
    who = "user=onebox-deploy,host=localhost,addr=127.0.0.1"
    options = host.check_output(f"/usr/sbin/sshd -T -C {who}").splitlines()
    assert {"unusedconnectiontimeout 60", "maxsessions 2", "clientaliveinterval 30"} <= {*options}


def test_running_sshd_offers_no_password_login(server: Server) -> None:
    options = (
        "ControlPath=none", "BatchMode=yes", "LogLevel=ERROR", "PubkeyAuthentication=no",
        "PreferredAuthentications=password,keyboard-interactive",
    )  # fmt: skip
    command = server.ssh(*(part for option in options for part in ("-o", option)))
    answer = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    assert answer.stderr.strip().endswith("Permission denied (publickey).")


def test_sshd_runs_and_starts_at_boot(host: Host) -> None:
    assert host.service("ssh.service").is_running
    assert host.service("ssh.service").is_enabled or host.service("ssh.socket").is_enabled


def test_only_root_can_write_the_drop_in(host: Host) -> None:
    drop_in = host.file("/etc/ssh/sshd_config.d/00-onebox.conf")
    assert owner_and_mode(drop_in) == "root:root 644"


def test_no_change_waits_to_be_reverted(host: Host) -> None:
    timers = "systemctl list-units --all --plain --no-legend 'onebox-revert-*'"
    assert host.check_output(timers) == ""
