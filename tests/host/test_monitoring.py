"""Monitoring: its timer, sandbox and settings, and no drift in files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .connection import Host, owner_and_mode

if TYPE_CHECKING:
    from settings import VM

# PrivateTmp= and PrivateDevices= would lower it to 20, but fail on a full disk.
EXPOSURE = 25
SANDBOX = {
    "User": "onebox-checks",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "CapabilityBoundingSet": "cap_dac_read_search",
    "AmbientCapabilities": "cap_dac_read_search",
    "MemoryDenyWriteExecute": "yes",
}


def test_monitoring_timer_is_active(host: Host) -> None:
    timer = host.service("onebox-checks.timer")
    assert timer.is_enabled
    assert timer.is_running


@pytest.mark.parametrize(("name", "value"), SANDBOX.items())
def test_monitoring_is_sandboxed(host: Host, name: str, value: str) -> None:
    assert host.service("onebox-checks.service").systemd_properties[name] == value


def test_security_exposure_of_monitoring_is_low(host: Host) -> None:
    command = "systemd-analyze security --no-pager --threshold=%s onebox-checks.service"
    assert host.run(command, str(EXPOSURE)).rc == 0


def test_only_root_can_read_settings(host: Host) -> None:
    for name in ("settings.json", "manifest"):
        file = host.file(f"/etc/onebox/checks/{name}")
        assert owner_and_mode(file) == "root:root 600"


def test_settings_match_the_inventory(host: Host, vm: VM) -> None:
    text = host.file("/etc/onebox/checks/settings.json").content_string
    data = json.loads(text)["data"]
    assert (data["host"], data["every"]) == (vm.address, vm.checks.every)
    assert list(data["apps"]) == [app.name for app in vm.apps]


def test_files_are_as_the_last_deploy_left_them(host: Host) -> None:
    assert host.run("sha256sum --check --quiet /etc/onebox/checks/manifest").stdout == ""


def test_only_timers_of_the_inventory_are_enabled(host: Host, vm: VM) -> None:
    # Debian 12's systemctl fails if it lists nothing.
    listed = host.run("systemctl list-unit-files --no-legend 'onebox-timer-*.timer'").stdout
    states = {line.split()[0]: line.split()[1] for line in listed.splitlines()}
    expected = [f"onebox-timer-{app.name}-{t.name}.timer" for app in vm.apps for t in app.timers]
    assert states == dict.fromkeys(expected, "enabled")
