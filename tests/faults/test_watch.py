"""A release that fails after the switch is rolled back automatically."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operations.artifact import pack
from tests.faults.probed import Probed


@pytest.mark.parametrize(
    ("kind", "why"),
    [("fails later", "requests failed"), ("dies later", "died")],
)
def test_a_release_that_fails_after_the_switch_is_rolled_back(
    probe: Probed, csv: Path, kind: str, why: str
) -> None:
    before = probe.live()
    probe.server.app["watch"] = 40
    with probe.load(csv) as traffic:
        probe.change(kind)
        result = probe.deploy()
    probe.server.app["watch"] = 2
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert why in output
    assert f"Rolled back to release {before}" in output
    assert probe.live() == before
    bad = traffic.releases - {before}
    assert len(bad) == 1
    assert {sample.release for sample in traffic.failures} <= bad | {""}
    probe.assert_settled()


BREAKS = {
    "its sockets are gone": "rm -rf /run/probe",
    "its unit is masked": "ln -sf /dev/null /etc/systemd/system/probe-web@{release}.service;"
    " systemctl daemon-reload; systemctl kill -s KILL probe-web@{release}.service",
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_live_release_that_does_not_serve_is_reported_and_replaced(
    probe: Probed, how: str
) -> None:
    before = probe.live()
    probe.server.run(BREAKS[how].format(release=before))
    probe.server.wait_for('onebox-release status probe --json | grep -q \'"health": "down\'', 20)
    digest = pack(probe.folder).digest
    plan = json.loads(probe.server.run(f"onebox-release plan probe {digest}"))["data"]
    assert any("does not serve: " in how for _, how in plan["differences"]), plan
    result = probe.deploy()
    assert result.returncode == 0, result.stdout + result.stderr
    assert probe.live() not in {before, ""}
    assert probe.server.deploy()["success"] == []
    probe.assert_settled()


def test_a_first_release_whose_process_crashes_fails_and_the_next_may_be_slow(
    probe: Probed,
) -> None:
    """A release whose folder is missing counts as none. The next one takes longer than
    `start_timeout` to start, but uses the CPU: no failure."""
    probe.server.run("rm -rf $(realpath /srv/probe/current)")
    assert probe.status()["missing"]
    probe.change("worker crashes")
    probe.server.app["watch"] = 30  # a first release: 10 s, or twice the time of its start
    result = probe.deploy()
    probe.server.app["watch"] = 2
    assert result.returncode != 0, result.stdout + result.stderr
    output = result.stdout + result.stderr
    assert "broken on purpose: worker" in output
    assert "It stays live: there is no previous release to roll back to." in output
    assert probe.live() == probe.status()["live"]
    probe.release("slow start")
    probe.assert_settled()


def test_a_process_that_runs_alone_never_runs_twice(probe: Probed) -> None:
    """Across the deploy that sets `alone`, one more, and one that is rolled back."""
    settings = dict(probe.server.app)
    worker = {**settings["processes"][0], "alone": True}
    probe.server.app.update(processes=[worker], watch=4)
    count = "pgrep -c -f '[p]ython -m probe.worker'"
    log = "/run/workers"
    probe.server.run(
        f'systemd-run --quiet --unit=counter sh -c "while sleep 0.1; do {count} >> {log}; done"'
    )
    try:
        probe.release()
        probe.release()
        probe.server.app["watch"] = 40
        probe.change("dies later")
        assert "Rolled back to" in probe.deploy().stderr
    finally:
        probe.server.run("systemctl stop counter")
        probe.server.entry["apps"] = [settings]
    counts = probe.server.run(f"sort {log} | uniq -c; rm {log}")
    assert {line.split()[1] for line in counts.splitlines()} == {"0", "1"}, counts
    probe.assert_settled()


def test_a_failed_deploy_changes_nothing_of_the_live_release(probe: Probed) -> None:
    """Units, processes and the health path belong to a release: after a failed deploy, a crash or a
    reboot starts it as before, and a rollback restores its own."""
    before, settings = probe.live(), dict(probe.server.app)
    extra = {"name": "extra", "command": "sleep 1000"}
    more = [*settings["processes"], extra]
    timers = [{"name": "tick", "command": "true", "schedule": "daily"}]
    changes = {"module": "probe.main:nothing", "processes": more, "timers": timers}
    probe.server.app.update(changes, health="/nowhere")
    probe.change()
    result = probe.deploy()
    assert result.returncode != 0
    assert f"Release {before} still serves" in result.stdout + result.stderr
    assert "probe-tick" not in probe.server.run("ls /etc/systemd/system")
    probe.server.run(f"systemctl kill -s KILL probe-web@{before}.service")
    probe.server.seconds_until_ready(30, "/ready")
    assert running(probe) == (before, "ok", ["web", "worker"])
    probe.server.entry["apps"] = [{**settings, "processes": more}]
    probe.release()
    assert running(probe)[2] == ["web", "worker", "extra"]
    probe.server.run("onebox-release rollback probe")
    assert running(probe) == (before, "ok", ["web", "worker"])
    probe.assert_settled()
    probe.server.entry["apps"] = [settings]


def running(probe: Probed) -> tuple[str, object, list[str]]:
    """Return the live release, its health, and its active processes."""
    status = probe.status()
    units: list[dict[str, str]] = status["units"]  # type: ignore[assignment]
    return probe.live(), status["health"], [u["process"] for u in units if u["state"] == "active"]
