"""The server's environment, and its deploy keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .connection import Host

if TYPE_CHECKING:
    from settings import VM

HOME = "/etc/onebox/deploy"
SUBMIT = "/usr/local/bin/onebox-submit"


def test_the_server_has_the_inventorys_environment(host: Host, vm: VM) -> None:
    file = host.file("/etc/onebox/environment")
    assert (file.content_string.strip() if file.exists else None) == vm.environment


def test_each_deploy_key_is_restricted_to_one_command(host: Host, vm: VM) -> None:
    file = host.file(f"{HOME}/.ssh/authorized_keys")
    if not vm.deploy_keys:
        assert not file.exists
        return
    lines = [line for line in file.content_string.splitlines() if not line.startswith("#")]
    printed = host.check_output("ssh-keygen -lf %s/.ssh/authorized_keys", HOME).splitlines()
    assert [line.split()[1] for line in printed] == [key.fingerprint for key in vm.deploy_keys]
    assert lines == [
        f'restrict,command="sudo -n {SUBMIT} {key.fingerprint} {" ".join(key.apps)}" {key.key}'
        for key in vm.deploy_keys
    ]


def test_the_user_of_deploy_keys_cannot_extend_its_rights(host: Host, vm: VM) -> None:
    if not vm.deploy_keys:
        pytest.skip("no deploy keys in the inventory")
    assert host.user("onebox-deploy").home == HOME
    assert host.check_output("find %s ! -user root -o -perm /022", HOME) == ""
    allowed = host.check_output("sudo -l -U onebox-deploy")
    assert [line.strip() for line in allowed.splitlines() if "NOPASSWD" in line] == [
        f"(root) NOPASSWD: {SUBMIT}"
    ]
