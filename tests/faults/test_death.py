"""Wherever a deploy is killed, a release serves, and the next deploy converges."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from onebox_release.faults import POINTS

from tests.faults.probed import FREE, LOCKED, Probed
from tests.faults.test_schema import add
from tests.lab_server import Server, lab

SAMPLE = 2  # `make soak-releases` kills at each point
CONSENT = ("--data", "allow_incompatible=true")


def prepare(probe: Probed, point: str) -> None:
    """Prepare a release whose deploy, with consent, reaches a fault point."""
    probe.change("dies later" if point == "rolled back" else "good")
    probe.server.app["watch"] = 40 if point == "rolled back" else 2
    versions = probe.folder / "migrations/versions"
    before = f"r{len(list(versions.glob('*.py')))}"
    if point in {"dumped", "migrated"}:
        add(probe, f"r{int(before[1:]) + 1}", before, compatible=False)
    if point == "installed":
        with (probe.folder / "uv.lock").open("a") as lock:
            lock.write("# other packages\n")


def test_a_release_serves_wherever_the_switch_is_killed(
    probe: Probed, csv: Path, chance: random.Random
) -> None:
    for point in chance.sample(POINTS, SAMPLE):
        with probe.load(csv) as traffic:
            kill(probe, point)
        # A release that dies and is rolled back fails requests for a moment.
        assert not traffic.failures or point == "rolled back", (
            f"{point}\n{traffic.first_failures()}"
        )


def kill(probe: Probed, point: str) -> None:
    """Kill the switch at a point; the next deploy converges, and the one after changes nothing."""
    probe.server.run(f"echo kill {point} > /run/onebox-fault")
    prepare(probe, point)
    assert probe.deploy(*CONSENT).returncode != 0, point
    assert probe.server.run("cat /run/onebox-fault-reached") == point
    probe.assert_settled()
    assert_converges(probe, point)


def assert_converges(probe: Probed, point: str) -> None:
    """Check that the next deploy, of good code, succeeds, and the one after changes nothing."""
    if point == "rolled back":
        prepare(probe, "")
    again = probe.deploy(*CONSENT)
    assert again.returncode == 0, f"{point}: {again.stdout}{again.stderr}"
    assert probe.server.deploy()["success"] == [], point
    probe.assert_settled()


def test_a_power_cut_in_the_switch_leaves_one_complete_release(
    copy: Callable[..., Server], tmp_path: Path, chance: random.Random
) -> None:
    probe = Probed.on(copy("12", "--disk", "6G", settle=False), tmp_path)
    probe.release()
    power_cut(probe, chance.choice(POINTS))


def power_cut(probe: Probed, point: str) -> None:
    """Cut the power when a deploy reaches a point; check the state after the boot."""
    probe.server.run(f"echo hang {point} > /run/onebox-fault")
    prepare(probe, point)
    deployer = probe.server.start_deploy(*CONSENT)
    probe.server.wait_for(f"grep -qx '{point}' /run/onebox-fault-reached", 60)
    lab("poweroff", probe.server.host.name, "--hard")
    deployer.kill()
    deployer.wait()
    lab("start", probe.server.host.name)
    probe.server.seconds_until_ready(30, "/ready")
    probe.assert_settled()
    empty = "find /srv/probe/releases/*/app -name '*.py' -size 0 ! -name __init__.py"
    assert probe.server.run(empty) == "", point
    assert_converges(probe, point)


@pytest.mark.parametrize(("wait", "expected"), [("0", [0, 3]), ("120", [0, 0])])
def test_of_two_deploys_at_once_one_waits(probe: Probed, wait: str, expected: list[int]) -> None:
    probe.change()
    processes = [probe.server.start_deploy("--data", f"wait={wait}") for _ in range(2)]
    codes = sorted(process.wait(240) for process in processes)
    log = probe.server.inventory.with_suffix(".log").read_text()
    assert codes == expected, log
    assert "held this server's deploy lock for" in log
    assert probe.server.deploy()["success"] == []
    probe.assert_settled()


def test_a_hung_release_blocks_only_its_own_apps_deploys(probe: Probed) -> None:
    """A hung release unit of another app holds no server-wide lock."""
    probe.server.run("systemd-run --quiet --unit=onebox-release-other sleep 120")
    try:
        probe.release()
    finally:
        probe.server.run("systemctl stop onebox-release-other")
    probe.server.run("systemd-run --quiet --unit=onebox-release-probe sleep 120")
    try:
        probe.change()
        result = probe.deploy("--data", "wait=3")
    finally:
        probe.server.run("systemctl stop onebox-release-probe")
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert "A deploy of probe is under way" in output
    assert "Not released: probe" in output


def test_a_killed_deployers_lock_is_released_and_the_history_records_it(probe: Probed) -> None:
    probe.change()
    process = probe.server.start_deploy()
    probe.server.wait_for(LOCKED, 20)
    process.kill()
    process.wait()
    probe.server.wait_for(FREE, 6)
    last: dict[str, str] = probe.status()["last"]  # type: ignore[assignment]
    assert last["result"] == "interrupted", last
    assert "interrupted" in probe.server.run("onebox-release status probe")
    assert "connection was lost" in probe.server.run("onebox-release history probe")
    probe.assert_settled()
    assert probe.deploy().returncode == 0


def test_a_hold_blocks_deploys(probe: Probed) -> None:
    probe.server.run("onebox-release hold 'upgrading Debian'")
    try:
        result = probe.deploy()
        assert result.returncode == 3
        assert "upgrading Debian" in result.stderr
    finally:
        probe.server.run("onebox-release unhold")
    assert probe.deploy().returncode == 0
