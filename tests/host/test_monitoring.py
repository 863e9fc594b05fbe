"""The server's look at itself: that it happens, as whom, and that it finds nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .server import Host, rights

if TYPE_CHECKING:
    from settings import VM

# PrivateTmp= and PrivateDevices=, which would bring it to 2.0, need a disk that is not full.
EXPOSURE = 25
SANDBOX = {
    "User": "onebox-watch",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "CapabilityBoundingSet": "cap_dac_read_search",
    "AmbientCapabilities": "cap_dac_read_search",
    "MemoryDenyWriteExecute": "yes",
}


def test_the_server_looks_at_itself(host: Host) -> None:
    timer = host.service("onebox-watch.timer")
    assert timer.is_enabled
    assert timer.is_running


@pytest.mark.parametrize(("name", "value"), SANDBOX.items())
def test_who_looks_may_read_and_do_nothing_else(host: Host, name: str, value: str) -> None:
    assert host.service("onebox-watch.service").systemd_properties[name] == value


def test_exposure_of_the_checks_is_low(host: Host) -> None:
    command = "systemd-analyze security --no-pager --threshold=%s onebox-watch.service"
    assert host.run(command, str(EXPOSURE)).rc == 0


def test_who_is_told_is_for_root_alone(host: Host) -> None:
    for name in ("settings.json", "manifest"):
        file = host.file(f"/etc/onebox/watch/{name}")
        assert rights(file) == "root:root 600"


def test_what_is_looked_at_is_what_the_inventory_says(host: Host, vm: VM) -> None:
    text = host.file("/etc/onebox/watch/settings.json").content_string
    data = json.loads(text)["data"]
    assert (data["host"], data["every"]) == (vm.address, vm.checks.every)
    assert list(data["apps"]) == [app.name for app in vm.apps]


def test_files_are_as_the_last_deploy_left_them(host: Host) -> None:
    assert host.run("sha256sum --check --quiet /etc/onebox/watch/manifest").stdout == ""


def test_every_timer_of_the_inventory_is_scheduled_and_no_other(host: Host, vm: VM) -> None:
    # Debian 12's systemctl fails where it lists nothing.
    listed = host.run("systemctl list-unit-files --no-legend 'onebox-job-*.timer'").stdout
    states = {line.split()[0]: line.split()[1] for line in listed.splitlines()}
    wanted = [f"onebox-job-{app.name}-{t.name}.timer" for app in vm.apps for t in app.timers]
    assert states == dict.fromkeys(wanted, "enabled")
