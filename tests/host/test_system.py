"""Packages, security updates, the journal, the clock."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .connection import Host

if TYPE_CHECKING:
    from settings import VM

PACKAGES = ["ca-certificates", "nftables", "nginx", "python3-venv", "unattended-upgrades"]


@pytest.fixture(scope="session")
def apt(host: Host) -> dict[str, str]:
    """apt's effective configuration."""
    dump = host.check_output("apt-config dump")
    return dict(re.findall(r'^(\S+) "(.*)";$', dump, re.MULTILINE))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_installed(host: Host, package: str) -> None:
    assert host.package(package).is_installed


def test_postgresql_is_installed_for_a_local_database(host: Host, vm: VM) -> None:
    if not vm.local_apps:
        pytest.skip("no app has its database on this server")
    assert host.package("postgresql").is_installed


def test_security_updates_are_installed_automatically(host: Host, apt: dict[str, str]) -> None:
    assert apt["APT::Periodic::Update-Package-Lists"] == "1"
    assert apt["APT::Periodic::Unattended-Upgrade"] == "1"
    assert host.service("apt-daily-upgrade.timer").is_enabled
    assert host.service("apt-daily-upgrade.timer").is_running


def test_security_updates_never_reboot(apt: dict[str, str]) -> None:
    assert apt["Unattended-Upgrade::Automatic-Reboot"] == "false"


def test_security_updates_cover_debians_security_archive(host: Host) -> None:
    origins = host.check_output("apt-config dump Unattended-Upgrade::Origins-Pattern")
    assert "label=Debian-Security" in origins


def test_journal_is_persistent_and_limited(host: Host, vm: VM) -> None:
    text = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    effective = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))  # the last one applies
    assert effective["Storage"] == "persistent"
    assert effective["SystemMaxUse"] == f"{vm.journal}M"


def test_journald_has_loaded_its_configuration(host: Host) -> None:
    command = "systemctl show --timestamp=unix --value -p ActiveEnterTimestamp systemd-journald"
    started = int(host.check_output(command).removeprefix("@"))
    changed = host.check_output("stat -c %Z /etc/systemd/journald.conf.d/onebox.conf")
    assert started >= int(changed)


def test_the_clock_is_synchronized(host: Host) -> None:
    if host.run("systemd-detect-virt --quiet --container").rc == 0:
        pytest.skip("a container's clock is its host's")
    names = ("systemd-timesyncd", "chrony", "ntpsec", "openntpd", "ntp")
    assert any(host.service(f"{name}.service").is_running for name in names)


def test_no_unit_has_failed(host: Host) -> None:
    assert host.check_output("systemctl --failed --plain --no-legend") == ""


def test_no_unit_needs_a_daemon_reload(host: Host) -> None:
    shown = host.check_output("systemctl show '*' -p Id -p NeedDaemonReload")
    blocks = [block.splitlines() for block in shown.split("\n\n")]
    assert [block for block in blocks if "NeedDaemonReload=yes" in block] == []
