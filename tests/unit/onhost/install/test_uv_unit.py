"""uv's unit: its systemd-run command, and the handling of its result."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.host import resources
from onebox_release.install import uv_unit
from onebox_release.install.credentials import Credentials
from onebox_release.install.packages import Project
from onebox_release.install.uv_unit import Builder


def project(*, locked: bool, builds: bool) -> Project:
    name = "uv.lock" if locked else "requirements.txt"
    files = {name: b"x", "a/pyproject.toml": b"y"}
    return Project(files, locked, frozenset({"a"}), builds, {}, [])


LOCKED = project(locked=True, builds=False)
GIVEN = Credentials({"UV_INDEX_CORP_PASSWORD": "s3cret"}, "KEY\n")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that were run, as the current user."""
    commands: list[list[str]] = []
    run = subprocess.run

    def pretend(command: list[str], **options: Any) -> Any:
        commands.append(command)
        if command[0] in {"rm", "du"}:
            return run(command, **options)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(uv_unit, "_processes", lambda _: [])
    monkeypatch.setattr(uv_unit, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.getpwuid(os.getuid()))
    monkeypatch.setattr(resources, "is_full", lambda _: False)
    return commands


def pretend_systemd(monkeypatch: pytest.MonkeyPatch, script: str) -> list[list[str]]:
    """Replace systemd-run by a shell script."""
    started: list[list[str]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        if command[0] != "systemd-run":
            return popen(command, **options)
        started.append(command)
        return popen(["sh", "-c", script], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def install(
    app: App, what: Project = LOCKED, *, by_key: bool = False, given: Credentials = GIVEN
) -> None:
    venv = app.home / "venvs/abc"
    Builder(app, by_key).install(what, venv, venv.with_name(".abc.new"), given)


def test_the_unit_sees_what_is_listed_and_credentials_are_on_its_input_alone(
    app: App, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = app.root / "run/onebox-build-links"
    copy = f"cat > {tmp_path}/input; cp -r {run}/project {tmp_path}/seen"
    started = pretend_systemd(monkeypatch, copy)
    install(app)
    [command] = started
    assert "s3cret" not in str(command)
    assert GIVEN.key not in command
    job = json.loads((tmp_path / "input").read_text())
    assert (job["environment"], job["key"]) == (GIVEN.environment, "KEY\n")
    assert job["commands"] == [[
        uv_unit.UV, "sync", "--locked", "--no-install-project", "--no-install-workspace",
        "--no-dev", "--no-build",
    ]]  # fmt: skip
    # Never by the environment's own Python: it runs what packages put there.
    [[python, *options], _] = job["afterwards"]
    assert (python, options[:2]) == ("/usr/bin/python3", ["-I", "-S"])
    seen = [str(p.relative_to(tmp_path / "seen")) for p in (tmp_path / "seen").rglob("*.*")]
    assert sorted(seen) == ["a/pyproject.toml", "uv.lock"]
    properties = [word.removeprefix("--property=") for word in command]
    home = app.home
    for line in (
        "User=links-build", f"RootDirectory={run}/root", "ProtectSystem=strict",
        "NoNewPrivileges=yes", "CapabilityBoundingSet=", "IPAddressDeny=link-local",
        "RuntimeMaxSec=1800", "BindsTo=onebox-release-links.service",
        f"BindPaths={home}/venvs/.abc.new:{home}/venvs/abc",
        f"BindPaths={app.caches}/by-person:/cache",
    ):  # fmt: skip
        assert line in properties
    visible = [line.partition("=")[2] for line in properties if line.startswith("Bind")]
    for hidden in ("/etc/links", "/srv:", "/var", "/run:", "/home", "/root:", "/etc/letsencrypt"):
        assert not [path for path in visible if path.split(":")[-1].startswith(hidden)]
    assert not run.exists()
    assert [command[0] for command in ran].count("/usr/sbin/nft") == 2
    assert ran[0][:2] == ["systemctl", "stop"]


def test_requirements_are_installed_into_a_new_environment(app: App, ran: list[list[str]]) -> None:
    del ran
    pinned = project(locked=False, builds=True)
    job = json.loads(uv_unit._job(pinned, app.home / "venvs/abc", GIVEN))
    venv = str(app.home / "venvs/abc")
    assert job["commands"] == [
        [uv_unit.UV, "venv", "--quiet", "--allow-existing", venv],
        [uv_unit.UV, "pip", "sync", "--python", venv, "requirements.txt"],
    ]


@pytest.mark.usefixtures("ran")
def test_a_deploy_key_uses_a_cache_of_its_own(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    started = pretend_systemd(monkeypatch, "cat > /dev/null")
    install(app, by_key=True)
    assert f"--property=BindPaths={app.caches}/by-key:/cache" in started[0]


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize("by_key", [True, False])
def test_what_a_failed_deploy_of_a_key_left_in_its_cache_is_gone(
    app: App, monkeypatch: pytest.MonkeyPatch, *, by_key: bool
) -> None:
    pretend_systemd(monkeypatch, "exit 1")
    with pytest.raises(ReleaseError):
        install(app, by_key=by_key)
    name = "by-key" if by_key else "by-person"
    assert (app.caches / name).exists() != by_key


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo no such package; exit 1", "uv could not install the packages:\nno"),
        ("echo 'Finished with result: timeout'; exit 1", "longer than half an hour"),
        ("echo 'Finished with result: oom-kill'; exit 1", "half of the server's memory"),
        ("yes x | head -c 9000000; echo the end; exit 1", "the end"),
        ("printf '401 s3cret \\033[2J'; exit 1", r"401 \*\*\* \\x1b\[2J"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("ran")
def test_why_it_failed_is_reported(
    app: App, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    pretend_systemd(monkeypatch, script)
    with pytest.raises(ReleaseError, match=told) as error:
        install(app)
    assert len(str(error.value)) < 2 * uv_unit.OUTPUT
    assert not (app.root / "run/onebox-build-links").exists()


def test_it_is_killed_before_the_disk_is_full(
    app: App, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "is_full", lambda _: True)
    pretend_systemd(monkeypatch, "cat > /dev/null; sleep 1; exit 1")
    with pytest.raises(ReleaseError, match="the disk is nearly full"):
        install(app)
    kill = ["systemctl", "kill", "--signal=KILL", "onebox-build-links.service"]
    assert ran.count(kill) == 1


@pytest.mark.usefixtures("ran")
def test_nothing_is_taken_over_while_a_process_is_left(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv_unit, "_processes", lambda _: [4711])
    with pytest.raises(ReleaseError, match=r"links-build still runs processes \[4711\]"):
        install(app)


def test_a_server_without_the_user_says_what_to_do(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", none)
    with pytest.raises(ReleaseError, match=r"user links-build does not exist\. Run a full deploy"):
        install(app)


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(("size", "kept"), [(10, True), (20, False)])
def test_a_cache_that_outgrew_its_use_is_emptied(
    app: App, monkeypatch: pytest.MonkeyPatch, size: int, *, kept: bool
) -> None:
    monkeypatch.setattr(uv_unit, "CACHE_BYTES", 15)
    monkeypatch.setattr(resources, "used", lambda path: size if path.name == "by-person" else 1)
    pretend_systemd(monkeypatch, "cat > /dev/null")
    install(app)
    assert (app.caches / "by-person").exists() == kept


def test_processes_are_found_by_their_user() -> None:
    assert os.getpid() in uv_unit._processes(os.getuid())
    assert uv_unit._processes(54321) == []


def test_a_name_server_stays_in_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = ("169.254.169.254", "192.0.2.1", "fe80::1%eth0", "x")
    text = "# x\n" + "".join(f"nameserver {server}\n" for server in servers)
    file = SimpleNamespace(read_text=lambda **_: text)
    monkeypatch.setattr(uv_unit, "Path", lambda _: file)
    assert list(uv_unit._name_servers()) == ["169.254.169.254", "fe80::1"]
