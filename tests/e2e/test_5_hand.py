"""What a person does by hand, with the real `fab`: no request fails, and nothing stays behind."""

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

# What an app's own things are not among, and which changes by itself.
ELSEWHERE = (
    "/run/systemd", "/run/udev", "/run/user", "/run/credentials", "/run/log", "/var/lib/systemd",
    "/var/lib/apt", "/var/lib/dpkg", "/var/lib/postgresql", "/var/lib/logrotate", "/run/sudo",
    "/var/backups/onebox", "/var/lib/sudo", "/run/onebox-fault", "/run/onebox/",
)  # fmt: skip
KILLED = 255  # what systemd-run says of a program that was killed
LOOK = r"""
find /etc /srv /home /usr/local /opt /run /tmp /var/lib /var/log/nginx /var/backups -xdev
getent passwd; getent group
systemctl list-units --all --plain --no-legend | cut -d' ' -f1 | grep -Ev '\.(scope|device|slice)$'
systemctl list-unit-files --plain --no-legend | grep -v ' transient '
cd /; runuser -u postgres -- psql -XqAt -c 'select rolname from pg_roles' \
-c 'select datname from pg_database'
"""


@pytest.fixture(scope="module")
def hand(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe, released once, on a server that a sudo user is let into."""
    folder = tmp_path_factory.mktemp("hand")
    probed = Probed.on(
        copy("12"), folder, watch=1, settle=1, start_timeout=60,
        env={"DATABASE_CONNECTIONS": "20"},  # whatever other apps take
    )  # fmt: skip
    probed.release()
    return probed


def fab(
    hand: Probed, *arguments: str, code: int = 0, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `fab` as a person would, with this server's inventory; check its exit code."""
    result = subprocess.run(
        [sys.executable, "-m", "fabric", *arguments],
        env={**os.environ, "ONEBOX_INVENTORY": str(hand.server.inventory)},
        cwd=PROJECT, input=given, capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def data(hand: Probed, *arguments: str) -> Any:
    """Return the data of a command's JSON document."""
    document = json.loads(fab(hand, *arguments, "--json").stdout)
    assert (document["schema"], document["app"]) == (1, "probe")
    return document["data"]


def test_status_is_one_screen_and_one_document(hand: Probed) -> None:
    screen = fab(hand, "status").stdout
    assert hand.live() in screen
    assert len(screen.splitlines()) <= 24
    assert max(map(len, screen.splitlines())) <= 80
    assert "\033" not in screen, "no colour where nobody sees it"
    state = data(hand, "status")
    assert (state["live"], state["health"], state["hold"]) == (hand.live(), "ok", None)
    assert [unit["state"] for unit in state["units"]] == ["active", "active"]
    assert 80 < state["certificate_days"] <= 90


def test_the_logs_of_one_request_are_in_one_order_of_time(hand: Probed) -> None:
    key = hand.server.request("GET", "/tell").json()["key"]
    hand.server.request("GET", "/tell")
    lines = data(hand, "logs", "--request", key)
    assert {line["source"] for line in lines} == {"web", "postgresql", "nginx"}
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert lines[-1]["source"] == "nginx", "it writes when all is over"


def test_a_command_runs_as_the_app_in_its_sandbox(hand: Probed) -> None:
    command = 'id -un; echo "$ONEBOX_RELEASE"; ls /home; touch /srv/here; python -c "import probe"'
    told = fab(hand, "run", f"{command}; exit 7", code=7)
    assert told.stdout.splitlines() == ["probe", hand.live()]
    assert "Read-only file system" in told.stderr
    assert "Permission denied" in told.stderr
    assert hand.server.run("ls /run/onebox-run-* || true", check=False) == ""
    rows = fab(hand, "psql", given="select count(*) from rows").stdout
    assert "1 row" in rows
    fab(hand, "psql", given="drop table rows", code=1)


def test_a_command_with_a_secret_is_in_no_log_and_no_argument_list(hand: Probed) -> None:
    secret = f"typed-{os.urandom(8).hex()}"
    hand.server.entry["ssh_user"] = "debian"  # sudo logs what it runs
    command = [sys.executable, "-m", "fabric", "run", f": {secret}; sleep 4; exit 7"]
    try:
        environment = {**os.environ, "ONEBOX_INVENTORY": str(hand.server.write())}
        process = subprocess.Popen(command, env=environment, cwd=PROJECT, stdin=subprocess.DEVNULL)
        unit = "systemctl is-active --quiet 'onebox-run-probe@*'"
        hand.server.wait_for(unit, 20)
        arguments = hand.server.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
        assert process.wait(20) == 7
    finally:
        hand.server.entry["ssh_user"] = "root"
        hand.server.write()
    assert "ONEBOX_RUN" in arguments
    assert secret not in arguments
    look = f"""
journalctl --sync
journalctl -q --all -o json | grep -c {secret} || true
grep -rlI {secret} /var/log /run /etc /tmp /var/lib/onebox || true
"""
    assert hand.server.run("sh", given=look) == "0"


def test_a_restart_fails_no_request(hand: Probed, tmp_path: Path) -> None:
    release = hand.live()
    unit = f"probe-web@{release}.service"
    before = hand.server.run(f"systemctl show --value -p MainPID {unit}")
    with hand.load(tmp_path / "load.csv", gets=50, posts=10) as traffic:
        fab(hand, "restart")
    assert not traffic.failures, traffic.told()
    assert traffic.releases == {release, f"{release}.twin"}
    assert hand.server.run(f"systemctl show --value -p MainPID {unit}") != before
    hand.settled()
    assert hand.server.deploy()["success"] == []
    assert hand.server.run("find /srv/probe /etc/probe -name '*twin*'") == ""


# As an upgrade does: another file under the same name. nginx runs on the first, apps on the second.
UPGRADE = (
    "for file in /usr/lib/*-linux-gnu/libpcre2-8.so.0.* /usr/lib/python3.*/lib-dynload/_asyncio.*;"
    " do cp -p $file $file.new && mv $file.new $file; done"
)
STALE = "systemctl start onebox-watch; cat /run/onebox/libraries.json"


def test_an_update_is_put_in_use_in_the_window_and_no_request_fails(
    hand: Probed, tmp_path: Path
) -> None:
    server = hand.server
    runs = {"nginx.service", f"probe-web@{hand.live()}.service"}
    server.run(UPGRADE)
    assert runs <= json.loads(server.run(STALE)).keys()
    server.run("onebox-release hold 'nothing may change'; systemctl start onebox-updates")
    assert runs <= json.loads(server.run(STALE)).keys(), "not while deploys are on hold"
    server.run("onebox-release unhold")
    with hand.load(tmp_path / "load.csv", gets=50, posts=10, resend=True) as traffic:
        # systemd itself starts anew, too, which cuts off who waits for a unit.
        server.run("systemctl start --no-block onebox-updates")
        server.wait_for("systemctl show -p ActiveState onebox-updates | grep -qx .*=inactive", 300)
    assert not traffic.failures, traffic.told()
    assert not runs & json.loads(server.run(STALE)).keys()
    assert server.run("systemctl is-active nginx") == "active"
    hand.settled()
    assert server.deploy()["success"] == []


def test_a_restart_that_died_is_finished_by_the_next_deploy(hand: Probed) -> None:
    release = hand.live()
    hand.server.run("echo kill retired > /run/onebox-fault")
    fab(hand, "restart", code=KILLED)
    hand.settled()
    assert hand.live() == f"{release}.twin"
    assert hand.server.deploy()["success"] == ["Releases | Release probe"]
    assert hand.live() == release
    assert hand.server.deploy()["success"] == []


def test_maintenance_is_for_visitors_and_outlives_a_deploy_and_a_reboot(hand: Probed) -> None:
    before = hand.live()
    fab(hand, "maintenance", "on")
    assert_page(hand)
    socket = f"curl -s -o /dev/null -w '%{{http_code}}' --unix-socket /run/probe/{before}/web.sock"
    assert hand.server.run(f"{socket} http://probe/ready") == "200"
    hand.release()
    assert_page(hand)
    lab("reboot", hand.server.host.name)
    hand.server.wait_for("onebox-release check probe", 30)
    assert_page(hand)
    assert data(hand, "status")["maintenance"]
    fab(hand, "maintenance", "off")
    assert hand.live() != before


def assert_page(hand: Probed) -> None:
    """Check that a visitor gets the page, whatever is asked."""
    for method in ("GET", "POST"):
        answer = hand.server.request(method, "/rows")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "300")
        assert "Back soon" in answer.text


def test_a_server_whose_key_is_not_known_is_not_talked_to(hand: Probed, tmp_path: Path) -> None:
    text = hand.server.host.ssh_config.read_text()
    unknown = tmp_path / "ssh_config"
    unknown.write_text(re.sub("UserKnownHostsFile .*", "UserKnownHostsFile /dev/null", text))
    inventory = hand.server.inventory.read_text()
    strange = inventory.replace(str(hand.server.host.ssh_config), str(unknown))
    hand.server.inventory.write_text(strange)
    try:
        assert "its host key is not in known_hosts" in fab(hand, "unhold", code=1).stderr
    finally:
        hand.server.inventory.write_text(inventory)


def test_going_back_and_what_is_told_of_it(hand: Probed) -> None:
    hand.release()
    newest, *kept = data(hand, "releases")
    assert newest["live"]
    fab(hand, "rollback")
    assert hand.live() == kept[0]["release"]
    assert data(hand, "history")[-1]["what"] == "rollback"
    fab(hand, "rollback", "--release", "no-such", code=4)


def test_a_removed_app_leaves_nothing_and_disturbs_nobody(hand: Probed, tmp_path: Path) -> None:
    domain = f"echo.{hand.server.domain.removeprefix('www.')}"
    timer = {"name": "report", "command": "true", "schedule": "daily"}
    gone = {**hand.server.app, "name": "gone", "domains": [domain], "timers": [timer]}
    hand.server.deploy()
    before = look(hand)
    hand.server.entry["apps"].append(gone)
    hand.server.deploy()
    hand.server.run("echo mine > /var/lib/gone/upload; chown gone: /var/lib/gone/upload")
    fab(hand, "hold", "moving the office")
    assert "moving the office" in fab(hand, "remove", "--app=gone", "--yes", code=3).stderr
    fab(hand, "unhold")
    with hand.load(tmp_path / "load.csv", gets=50, posts=10, resend=True) as traffic:
        for point in REMOVAL:
            hand.server.run(f"echo kill {point} > /run/onebox-fault")
            fab(hand, "remove", "--app=gone", "--yes", code=KILLED)
            assert hand.server.run("cat /run/onebox-fault-reached") == point
        fab(hand, "remove", "--app=gone", "--yes")
    assert not traffic.failures, traffic.told()
    assert len(traffic.resent) <= len(REMOVAL) + 1  # a reload of nginx each, at most
    after = look(hand)
    assert sorted(after ^ before) == []
    dump, *_, files = sorted(hand.server.run("ls /var/backups/onebox/*").split())
    assert "TABLE DATA public rows" in hand.server.run(f"pg_restore --list {dump}")
    assert "var/lib/gone/upload" in hand.server.run(f"tar -tzf {files}")
    assert hand.server.run("stat -c %a /var/backups/onebox") == "700"
    hand.server.entry["apps"].pop()
    # The limits of the others depend on which apps exist; nothing left is of the removed app.
    shared = {"Monitoring", "Limits", "Link-local", "PostgreSQL"}
    assert {name.partition(" |")[0] for name in hand.server.deploy()["success"]} <= shared
    assert not hand.server.deploy()["success"]
    hand.server.entry["apps"].append(gone)
    hand.server.deploy()
    answer = hand.server.request("GET", "/ready", domain=gone["domains"][0])
    assert answer.status_code == httpx.codes.OK


def look(hand: Probed) -> set[str]:
    """Return the names of files, users, units, roles and databases, but those of the app `links`,
    which runs on as it did before the test."""
    lines = hand.server.run(LOOK).splitlines()
    return {
        re.sub(r"/nginx\.\w+", "/nginx", line)
        for line in lines
        if "links" not in line and not line.startswith(ELSEWHERE)
    }
