"""The unit that a deploy runs in: its command line, its words and its exit code."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from onebox_release.app import App
from onebox_release.errors import LockedError
from onebox_release.host import systemd
from onebox_release.install import credentials
from onebox_release.shell import transient_unit

LOCKED = (
    "Failed to start transient service unit: Unit onebox-release-links.service was already loaded"
    " or has a fragment file."
)


@pytest.fixture
def systemd_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where a systemd-run of ours goes."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin/systemd-run"


@pytest.fixture
def progress(app: App) -> Path:
    return app.progress(os.getpid())


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_what_is_removed_is_not_started_again(app: App, systemd_run: Path, tmp_path: Path) -> None:
    script(systemd_run, f"printf '%s\\n' \"$@\" > {tmp_path / 'asked'}")
    assert transient_unit.run(app, ["remove", "links"], recover=False) == 0
    assert "recover" not in (tmp_path / "asked").read_text()


def test_the_command_line_is_exact(
    app: App,
    systemd_run: Path,
    progress: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    script(systemd_run, f"printf '%s\\n' \"$@\" > {tmp_path / 'asked'}")
    assert transient_unit.run(app, ["deploy", "links", "abc"]) == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--quiet",
        "--wait",
        "--collect",
        "--unit=onebox-release-links.service",
        "--property=Type=exec",
        f"--property=StandardError=append:{progress}",
        "--property=ExecStopPost=/usr/local/bin/onebox-release recover links --inside",
        "--property=TimeoutStopSec=infinity",
        "--property=SyslogIdentifier=onebox-release",
        "--property=Nice=5",
        "--setenv=ONEBOX_WHO=alice",
        "/usr/local/bin/onebox-release",
        "deploy",
        "links",
        "abc",
        "--inside",
    ]
    transient_unit.run(app, ["rollback", "links"])
    assert "Nice" not in (tmp_path / "asked").read_text(), "a rollback is wanted at once"


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_exit_code_and_words_are_passed_on(
    app: App,
    systemd_run: Path,
    progress: Path,
    capsys: pytest.CaptureFixture[str],
    code: int,
) -> None:
    script(systemd_run, f"echo first >> {progress}; echo last >> {progress}; exit {code}")
    progress.write_text("of an earlier deploy\n")
    assert transient_unit.run(app, []) == code
    assert capsys.readouterr() == ("", "first\nlast\n")
    assert not progress.exists()


def test_the_second_of_two_is_locked_out_and_leaves_the_first_ones_words(
    app: App,
    systemd_run: Path,
    progress: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = app.progress(os.getpid() + 1)
    first.write_text("of the first\n")
    state = {
        "ActiveEnterTimestamp": f"@{time.time() - 125:.0f}",
        "Environment": f'"ONEBOX_WHO=ann at home" {credentials.VARIABLE}=/run/x',
    }
    monkeypatch.setattr(systemd, "show", lambda *_: state)
    script(systemd_run, f"echo '{LOCKED}' >&2; exit 1")
    with pytest.raises(LockedError) as error:
        transient_unit.run(app, [])
    assert str(error.value) == (
        "A deploy of links by ann at home is under way, for 2 min."
        " Follow it: journalctl -fu onebox-release-links.service"
    )
    assert error.value.code == 3
    assert first.read_text() == "of the first\n"
    assert not progress.exists()
    assert capsys.readouterr().err == ""


def test_a_deploy_waits_for_its_app_s_and_then_runs(
    app: App,
    systemd_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(systemd, "show", lambda *_: {})
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    busy = tmp_path / "busy"
    script(systemd_run, f"[ -e {busy} ] && exit 0; touch {busy}; echo '{LOCKED}' >&2; exit 1")
    assert transient_unit.run(app, [], wait=30) == 0
    told = "A deploy of links is under way. Waiting for at most 30 s.\n"
    assert capsys.readouterr().err == told
    assert 1 in slept


def test_what_may_not_begin_any_more_waits_no_longer(
    app: App, systemd_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        if len(slept) > 2:
            raise LockedError("on hold")

    monkeypatch.setattr(systemd, "show", lambda *_: {})
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    script(systemd_run, f"echo '{LOCKED}' >&2; exit 1")
    with pytest.raises(LockedError, match="on hold"):
        transient_unit.run(app, [], wait=3600, check=check)


def test_ctrl_c_ends_the_waiting(
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(systemd, "show", lambda *_: {})
    monkeypatch.setattr(transient_unit, "_run", lambda *_, **__: None)
    monkeypatch.setattr(time, "sleep", interrupt)
    assert transient_unit.run(app, [], wait=30) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "Nothing was changed."


def test_secrets_wait_in_a_file_of_their_own_and_are_in_no_argument(
    app: App, systemd_run: Path, tmp_path: Path
) -> None:
    script(systemd_run, f"printf '%s\\n' \"$@\" > {tmp_path / 'asked'}")
    transient_unit.run(app, ["deploy", "links", "abc"], secret="s3cret")
    asked = (tmp_path / "asked").read_text()
    path = app.credentials(os.getpid())
    assert f"--setenv={credentials.VARIABLE}={path}" in asked
    assert "s3cret" not in asked
    assert not path.exists()


def test_other_errors_of_systemd_run_are_logged(
    app: App, systemd_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(systemd_run, "echo 'Failed to connect to bus' >&2; exit 1")
    assert transient_unit.run(app, []) == 1
    assert capsys.readouterr() == ("", "Failed to connect to bus\n")


def test_an_interrupt_leaves_the_unit_alone_and_names_its_log(
    app: App,
    systemd_run: Path,
    progress: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(_: Path, process: subprocess.Popen[str]) -> None:
        process.wait(5)  # the terminal interrupts systemd-run too
        raise KeyboardInterrupt

    script(systemd_run, "exit 130")
    monkeypatch.setattr(transient_unit, "_follow", interrupt)
    assert transient_unit.run(app, []) == 1
    assert capsys.readouterr().err == (
        "The deploy continues on the server. Follow it:"
        " journalctl -fu onebox-release-links.service\n"
    )
    assert not progress.exists()


def test_progress_is_for_root_alone(
    app: App, systemd_run: Path, progress: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(systemd_run, f"stat -c %a {progress} >> {progress}")
    before = os.umask(0o022)
    transient_unit.run(app, [])
    os.umask(before)
    assert capsys.readouterr().err == "600\n"


def test_a_text_is_followed_to_its_end(progress: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress.write_text("")
    command = f"for i in 1 2 3; do echo ünï $i >> {progress}; sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", command], text=True) as process:
        transient_unit._follow(progress, process)
    assert capsys.readouterr().err == "ünï 1\nünï 2\nünï 3\n"
