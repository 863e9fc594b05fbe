"""The live release: its processes, user and sandbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from . import outside
from .connection import Host, owner_and_mode

if TYPE_CHECKING:
    from settings.app import App

pytestmark = pytest.mark.release  # if one fails, `fab deploy` rolls the release back
EXPOSURE = 20  # tenths of a point in `systemd-analyze security`
SECCOMP_FILTER = "2"
SANDBOX = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "MemoryDenyWriteExecute": "yes",
    "CapabilityBoundingSet": "",
    "UMask": "0077",
    "PrivateIPC": "yes",
    "InaccessiblePaths": "-/dev/pts -/run/dbus",
}


@pytest.fixture(scope="session")
def web(app: App, release: str) -> str:
    """The unit of the live release's web process."""
    return f"{app.name}-web@{release}.service"


@pytest.fixture(scope="session")
def processes(host: Host, web: str) -> list[str]:
    """The PIDs of Gunicorn and its workers."""
    main: str = host.service(web).systemd_properties["MainPID"]
    workers: str = host.check_output("pgrep -P %s", main)
    return [main, *workers.split()]


def test_only_the_live_release_is_running(host: Host, app: App, release: str) -> None:
    command = "systemctl list-units --all --plain --no-legend %s %s"
    lines = host.check_output(command, f"{app.name}@*", f"{app.name}-web@*").splitlines()
    units = {line.split()[0]: line.split()[2] for line in lines}
    assert {unit for unit, state in units.items() if state != "inactive"} == {
        f"{app.name}@{release}.target",
        f"{app.name}-web@{release}.service",
        f"{app.name}-web@{release}.socket",
    }
    assert set(units.values()) <= {"active", "inactive"}


def test_live_release_has_a_unit_of_its_own(host: Host, web: str) -> None:
    assert host.service(web).systemd_properties["FragmentPath"] == f"/etc/systemd/system/{web}"


def test_onebox_release_reports_the_same(host: Host, app: App, release: str) -> None:
    status = json.loads(host.check_output("onebox-release status %s --json", app.name))["data"]
    assert (status["live"], status["up"]) == (release, [release])
    assert release in status["healthy"]


def test_only_the_app_can_read_its_folder(host: Host, app: App, release: str) -> None:
    folder = host.file(f"/srv/{app.name}/releases/{release}/app")
    assert owner_and_mode(folder) == f"root:{app.name} 750"


def test_only_nginx_can_open_the_socket(host: Host, app: App, release: str) -> None:
    sock = host.file(f"/run/{app.name}/{release}/web.sock")
    assert sock.is_socket
    assert owner_and_mode(sock) == "root:www-data 660"
    assert host.check_output("readlink -f /srv/%s/current/run/web.sock", app.name) == sock.path


def test_web_process_is_always_restarted(host: Host, web: str) -> None:
    properties = host.service(web).systemd_properties
    assert properties["Restart"] == "always"
    assert properties["RestartUSec"] == "2s"
    assert properties["StartLimitIntervalUSec"] == "0"


def test_web_unit_is_sandboxed(host: Host, app: App, web: str) -> None:
    properties = host.service(web).systemd_properties
    expected = SANDBOX | {"MemoryDenyWriteExecute": "no" if app.sandbox.jit else "yes"}
    assert {name: properties.get(name, "") for name in SANDBOX} == expected


def test_processes_run_as_the_app_without_privileges(
    host: Host, app: App, processes: list[str]
) -> None:
    uid, gid = str(host.user(app.name).uid), str(host.user(app.name).gid)
    for process in processes:
        text = host.file(f"/proc/{process}/status").content_string
        status = dict(line.split(":", 1) for line in text.splitlines())
        assert set(status["Uid"].split()) == {uid}
        assert set(status["Gid"].split()) == {gid}
        assert status["NoNewPrivs"].strip() == "1"
        assert int(status["CapEff"], 16) == 0
        assert status["Seccomp"].strip() == SECCOMP_FILTER


def test_as_many_workers_run_as_configured(
    host: Host, app: App, release: str, processes: list[str]
) -> None:
    path = f"/srv/{app.name}/releases/{release}/gunicorn.conf.py"
    configured = host.check_output("sed -n 's/^workers = //p' %s", path)
    assert len(processes) - 1 == int(configured)


def test_security_exposure_is_low(host: Host, web: str) -> None:
    command = f"systemd-analyze security --no-pager --threshold={EXPOSURE} %s"
    assert host.run(command, web).succeeded


def test_live_release_responds_over_https_through_nginx(
    address: str, app: App, release: str
) -> None:
    for domain in app.domains:
        answer = outside.get(f"https://{domain}{app.health}", address)
        assert (answer.status_code, answer.headers["x-release"]) == (200, release)


def test_apps_processes_share_one_limit(host: Host, app: App, web: str) -> None:
    """Only that systemd applies limits; tests on lab hosts exceed them."""
    properties = host.service(web).systemd_properties
    assert properties["ControlGroup"].startswith(f"/onebox.slice/{app.slice}/")
    assert (properties["OOMPolicy"], properties["OOMScoreAdjust"]) == ("continue", "300")
    shown = host.check_output("systemctl show -p MemoryMax,TasksMax %s", app.slice)
    bounds = dict(line.split("=", 1) for line in shown.splitlines())
    assert all(value.isdigit() for value in bounds.values()), bounds
    assert int(bounds["TasksMax"]) >= app.resources.tasks


def test_apps_temporary_files_are_private_and_limited(host: Host, processes: list[str]) -> None:
    mounts = host.file(f"/proc/{processes[0]}/mounts").content_string.splitlines()
    kinds = {fields[1]: (fields[2], fields[3]) for fields in map(str.split, mounts)}
    for path in ("/tmp", "/dev/shm"):  # noqa: S108
        assert kinds[path][0] == "tmpfs"
        assert ",size=" in kinds[path][1]
    assert kinds["/var/tmp"][0] != "tmpfs"  # noqa: S108
