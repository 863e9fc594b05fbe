"""The `fab` commands: no request fails, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from onebox_release.faults import REMOVAL

from tests.faults.probed import Probed
from tests.lab_server import LONG, PROJECT, Server, lab

# Paths that belong to no app and change by themselves.
UNRELATED = (
    "/run/systemd", "/run/udev", "/run/user", "/run/credentials", "/run/log", "/var/lib/systemd",
    "/var/lib/apt", "/var/lib/dpkg", "/var/lib/postgresql", "/var/lib/logrotate", "/run/sudo",
    "/var/backups/onebox", "/var/lib/sudo", "/run/onebox-fault", "/run/onebox/",
)  # fmt: skip
KILLED = 255  # systemd-run's exit code for a killed program
LIST = r"""
find /etc /srv /home /usr/local /opt /run /tmp /var/lib /var/log/nginx /var/backups -xdev
getent passwd; getent group
systemctl list-units --all --plain --no-legend | cut -d' ' -f1 | grep -Ev '\.(scope|device|slice)$'
systemctl list-unit-files --plain --no-legend | grep -v ' transient '
cd /; runuser -u postgres -- psql -XqAt -c 'select rolname from pg_roles' \
-c 'select datname from pg_database'
"""


@pytest.fixture(scope="module")
def probe(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe, released once, on a server where a sudo user can log in."""
    folder = tmp_path_factory.mktemp("commands")
    probed = Probed.on(
        copy("12", settle=False), folder, watch=1, settle=1, start_timeout=60,
        env={"DATABASE_CONNECTIONS": "20"},  # enough beside the other apps'
    )  # fmt: skip
    probed.release()
    return probed


def fab(
    probe: Probed, *arguments: str, code: int = 0, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `fab` with this server's inventory; check its exit code."""
    result = subprocess.run(
        [sys.executable, "-m", "fabric", *arguments],
        env={**os.environ, "ONEBOX_INVENTORY": str(probe.server.inventory)},
        cwd=PROJECT, input=given, capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def data(probe: Probed, *arguments: str) -> Any:
    """Return the data of a command's JSON document."""
    document = json.loads(fab(probe, *arguments, "--json").stdout)
    assert (document["schema"], document["app"]) == (1, "probe")
    return document["data"]


def test_status_is_one_screen_and_one_document(probe: Probed) -> None:
    screen = fab(probe, "status").stdout
    assert probe.live() in screen
    assert len(screen.splitlines()) <= 24
    assert max(map(len, screen.splitlines())) <= 80
    assert "\033" not in screen, "no colour without a terminal"
    state = data(probe, "status")
    assert (state["live"], state["health"], state["hold"]) == (probe.live(), "ok", None)
    assert [unit["state"] for unit in state["units"]] == ["active", "active"]
    assert 80 < state["certificate_days"] <= 90


def test_the_logs_of_one_request_are_merged_by_time(probe: Probed) -> None:
    key = probe.server.request("GET", "/tell").json()["key"]
    probe.server.request("GET", "/tell")
    lines = data(probe, "logs", "--request", key)
    assert {line["source"] for line in lines} == {"web", "postgresql", "nginx"}
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert lines[-1]["source"] == "nginx", "it logs at the end of a request"


def test_a_command_runs_as_the_app_in_its_sandbox(probe: Probed) -> None:
    command = 'id -un; echo "$ONEBOX_RELEASE"; ls /home; touch /srv/here; python -c "import probe"'
    result = fab(probe, "run", f"{command}; exit 7", code=7)
    assert result.stdout.splitlines() == ["probe", probe.live()]
    assert "Read-only file system" in result.stderr
    assert "Permission denied" in result.stderr
    assert probe.server.run("ls /run/onebox-run-* || true", check=False) == ""
    rows = fab(probe, "psql", given="select count(*) from rows").stdout
    assert "1 row" in rows
    fab(probe, "psql", given="drop table rows", code=1)


def test_a_command_with_a_secret_is_in_no_log_and_no_argument_list(probe: Probed) -> None:
    secret = f"typed-{os.urandom(8).hex()}"
    probe.server.entry["ssh_user"] = "debian"  # sudo logs each command line
    command = [sys.executable, "-m", "fabric", "run", f": {secret}; sleep 4; exit 7"]
    try:
        environment = {**os.environ, "ONEBOX_INVENTORY": str(probe.server.write())}
        process = subprocess.Popen(command, env=environment, cwd=PROJECT, stdin=subprocess.DEVNULL)
        unit = "systemctl is-active --quiet 'onebox-run-probe@*'"
        probe.server.wait_for(unit, 20)
        arguments = probe.server.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
        assert process.wait(20) == 7
    finally:
        probe.server.entry["ssh_user"] = "root"
        probe.server.write()
    assert "ONEBOX_RUN" in arguments
    assert secret not in arguments
    search = f"""
journalctl --sync
journalctl -q --all -o json | grep -c {secret} || true
grep -rlI {secret} /var/log /run /etc /tmp /var/lib/onebox || true
"""
    assert probe.server.run("sh", given=search) == "0"


def test_a_restart_fails_no_request(probe: Probed, tmp_path: Path) -> None:
    release = probe.live()
    unit = f"probe-web@{release}.service"
    before = probe.server.run(f"systemctl show --value -p MainPID {unit}")
    with probe.load(tmp_path / "load.csv", gets=50, posts=10) as traffic:
        fab(probe, "restart")
    assert not traffic.failures, traffic.first_failures()
    assert traffic.releases == {release, f"{release}.twin"}
    assert probe.server.run(f"systemctl show --value -p MainPID {unit}") != before
    probe.assert_settled()
    assert probe.server.deploy()["success"] == []
    assert probe.server.run("find /srv/probe /etc/probe -name '*twin*'") == ""


# Replaces files like an upgrade. nginx uses the first, apps the second.
UPGRADE = (
    "for file in /usr/lib/*-linux-gnu/libpcre2-8.so.0.* /usr/lib/python3.*/lib-dynload/_asyncio.*;"
    " do cp -p $file $file.new && mv $file.new $file; done"
)
STALE = "systemctl start onebox-checks; cat /run/onebox/libraries.json"


def test_updates_take_effect_in_the_maintenance_window_and_no_request_fails(
    probe: Probed, tmp_path: Path
) -> None:
    server = probe.server
    runs = {"nginx.service", f"probe-web@{probe.live()}.service"}
    server.run(UPGRADE)
    assert runs <= json.loads(server.run(STALE)).keys()
    server.run("onebox-release hold 'nothing may change'; systemctl start onebox-updates")
    assert runs <= json.loads(server.run(STALE)).keys(), "no restart during a hold"
    server.run("onebox-release unhold")
    with probe.load(tmp_path / "load.csv", gets=50, posts=10, resend=True) as traffic:
        # systemd re-executes itself too, which disconnects clients that wait for a unit.
        server.run("systemctl start --no-block onebox-updates")
        server.wait_for("systemctl show -p ActiveState onebox-updates | grep -qx .*=inactive", 300)
    assert not traffic.failures, traffic.first_failures()
    assert not runs & json.loads(server.run(STALE)).keys()
    assert server.run("systemctl is-active nginx") == "active"
    probe.assert_settled()
    assert server.deploy()["success"] == []


def test_a_killed_restart_is_finished_by_the_next_deploy(probe: Probed) -> None:
    release = probe.live()
    probe.server.run("echo kill retired > /run/onebox-fault")
    fab(probe, "restart", code=KILLED)
    probe.assert_settled()
    assert probe.live() == f"{release}.twin"
    assert probe.server.deploy()["success"] == ["Releases | Release probe"]
    assert probe.live() == release
    assert probe.server.deploy()["success"] == []


def test_the_maintenance_page_persists_across_a_deploy_and_a_reboot(probe: Probed) -> None:
    before = probe.live()
    fab(probe, "maintenance", "on")
    assert_page(probe)
    socket = f"curl -s -o /dev/null -w '%{{http_code}}' --unix-socket /run/probe/{before}/web.sock"
    assert probe.server.run(f"{socket} http://probe/ready") == "200"
    probe.release()
    assert_page(probe)
    lab("reboot", probe.server.host.name)
    probe.server.wait_for("onebox-release check probe", 30)
    assert_page(probe)
    assert data(probe, "status")["maintenance"]
    fab(probe, "maintenance", "off")
    assert probe.live() != before


def assert_page(probe: Probed) -> None:
    """Check that every request gets the maintenance page."""
    for method in ("GET", "POST"):
        answer = probe.server.request(method, "/rows")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "300")
        assert "Back soon" in answer.text


def test_a_server_with_an_unknown_host_key_is_refused(probe: Probed, tmp_path: Path) -> None:
    text = probe.server.host.ssh_config.read_text()
    unknown = tmp_path / "ssh_config"
    unknown.write_text(re.sub("UserKnownHostsFile .*", "UserKnownHostsFile /dev/null", text))
    inventory = probe.server.inventory.read_text()
    strange = inventory.replace(str(probe.server.host.ssh_config), str(unknown))
    probe.server.inventory.write_text(strange)
    try:
        assert "its host key is not in known_hosts" in fab(probe, "unhold", code=1).stderr
    finally:
        probe.server.inventory.write_text(inventory)


def test_a_rollback_and_its_entry_in_the_history(probe: Probed) -> None:
    probe.release()
    newest, *kept = data(probe, "releases")
    assert newest["live"]
    fab(probe, "rollback")
    assert probe.live() == kept[0]["release"]
    assert data(probe, "history")[-1]["what"] == "rollback"
    fab(probe, "rollback", "--release", "no-such", code=4)


def test_a_removed_app_leaves_nothing_and_affects_no_other_app(
    probe: Probed, tmp_path: Path
) -> None:
    domain = f"echo.{probe.server.domain.removeprefix('www.')}"
    timer = {"name": "report", "command": "true", "schedule": "daily"}
    gone = {**probe.server.app, "name": "gone", "domains": [domain], "timers": [timer]}
    probe.server.deploy()
    before = everything(probe)
    probe.server.entry["apps"].append(gone)
    probe.server.deploy()
    probe.server.run("echo mine > /var/lib/gone/upload; chown gone: /var/lib/gone/upload")
    fab(probe, "hold", "upgrading Debian")
    assert "upgrading Debian" in fab(probe, "remove", "--app=gone", "--yes", code=3).stderr
    fab(probe, "unhold")
    with probe.load(tmp_path / "load.csv", gets=50, posts=10, resend=True) as traffic:
        for point in REMOVAL:
            probe.server.run(f"echo kill {point} > /run/onebox-fault")
            fab(probe, "remove", "--app=gone", "--yes", code=KILLED)
            assert probe.server.run("cat /run/onebox-fault-reached") == point
        fab(probe, "remove", "--app=gone", "--yes")
    assert not traffic.failures, traffic.first_failures()
    assert len(traffic.resent) <= len(REMOVAL) + 1  # at most one reload of nginx for each
    after = everything(probe)
    assert sorted(after ^ before) == []
    dump, *_, files = sorted(probe.server.run("ls /var/backups/onebox/*").split())
    assert "TABLE DATA public rows" in probe.server.run(f"pg_restore --list {dump}")
    assert "var/lib/gone/upload" in probe.server.run(f"tar -tzf {files}")
    assert probe.server.run("stat -c %a /var/backups/onebox") == "700"
    probe.server.entry["apps"].pop()
    # The other apps' limits depend on which apps exist; the removed app causes no other change.
    shared = {"Monitoring", "Resources", "Link-local", "PostgreSQL"}
    assert {name.partition(" |")[0] for name in probe.server.deploy()["success"]} <= shared
    assert not probe.server.deploy()["success"]
    probe.server.entry["apps"].append(gone)
    probe.server.deploy()
    answer = probe.server.request("GET", "/ready", domain=gone["domains"][0])
    assert answer.status_code == httpx.codes.OK


def everything(probe: Probed) -> set[str]:
    """Return the names of files, users, units, roles and databases, without those of the app
    `links`, which keeps running."""
    lines = probe.server.run(LIST).splitlines()
    return {
        re.sub(r"/nginx\.\w+", "/nginx", line)
        for line in lines
        if "links" not in line and not line.startswith(UNRELATED)
    }
