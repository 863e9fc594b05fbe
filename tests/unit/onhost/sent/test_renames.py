"""Names of an older onebox are converted once, with what is in them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from sent import renames

OLD = {
    "etc/onebox/watch/settings.json": '{"apps": {"links": ["onebox-job-links-report.timer"]}}',
    "etc/systemd/system/onebox-watch.timer": "[Timer]\n",
    "etc/systemd/system/onebox-watch.service": "ExecStart=/usr/local/bin/onebox-watch round\n",
    "etc/systemd/system/onebox-updates.service": "ExecStart=/usr/local/bin/onebox-watch restart\n",
    "etc/systemd/system/onebox-job-links-report.timer": "[Timer]\n",
    "etc/systemd/system/onebox-job-links-report.service": (
        "ExecStart=/usr/local/bin/onebox-release job links report\n"
    ),
    "etc/sysusers.d/onebox-watch.conf": "u onebox-watch -\n",
    "var/lib/systemd/timers/stamp-onebox-job-links-report.timer": "",
    "var/lib/onebox-watch/state.json": "{}",
    "var/lib/onebox/links/jobs/report.json": "{}",
    "usr/local/bin/onebox-watch": "",
    "etc/nginx.conf": "as deployed",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(renames, "ROOT", tmp_path)
    monkeypatch.setattr(renames, "_wait_for_round", lambda: None)
    for path, text in OLD.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def commands(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ran: list[str] = []

    def run(*command: str, check: bool = True) -> int:
        assert (root / renames.MARKER).exists(), "removed last"
        del check
        ran.append(" ".join(command))
        return 0

    monkeypatch.setattr(renames, "_run", run)
    return ran


def test_everything_gets_its_name_of_today(root: Path, commands: list[str]) -> None:
    (root / "etc/onebox/watch/settings.json").chmod(0o600)
    assert renames.main() == 0
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files == {
        "etc/onebox/checks/settings.json",
        "etc/systemd/system/onebox-checks.timer",
        "etc/systemd/system/onebox-checks.service",
        "etc/systemd/system/onebox-updates.service",
        "etc/systemd/system/onebox-timer-links-report.timer",
        "etc/systemd/system/onebox-timer-links-report.service",
        "etc/sysusers.d/onebox-checks.conf",
        "var/lib/systemd/timers/stamp-onebox-timer-links-report.timer",
        "var/lib/onebox-checks/state.json",
        "var/lib/onebox/links/timers/report.json",
        "etc/nginx.conf",
    }
    text = "".join((root / path).read_text() for path in files)
    assert "watch" not in text
    assert "job" not in text
    assert "onebox-release timer links report" in text
    assert (root / "etc/onebox/checks/settings.json").stat().st_mode & 0o777 == 0o600
    assert (root / "var/lib/onebox/links/jobs/report.json").exists(), "of a run that began before"
    assert commands == [
        "systemctl disable --quiet --now onebox-job-links-report.timer onebox-watch.timer",
        "getent passwd onebox-watch",
        "usermod --login onebox-checks onebox-watch",
        "getent group onebox-watch",
        "groupmod --new-name onebox-checks onebox-watch",
        "systemctl daemon-reload",
        "systemctl enable --quiet --now onebox-timer-links-report.timer onebox-checks.timer",
    ]


def test_the_manifest_knows_new_names_and_an_edit_stays_one(
    root: Path, commands: list[str]
) -> None:
    manifest = root / "etc/onebox/watch/manifest"
    service = "/etc/systemd/system/onebox-watch.service"
    manifest.write_text(f"{'0' * 64}  {service}\n{'1' * 64}  /etc/nginx.conf\n")
    renames.main()
    assert commands
    service = service.replace("watch", "checks")
    digest = sha256((root / service.lstrip("/")).read_bytes()).hexdigest()
    expected = f"{digest}  {service}\n{'1' * 64}  /etc/nginx.conf\n"
    assert (root / "etc/onebox/checks/manifest").read_text() == expected


@pytest.mark.parametrize("at", range(7))
def test_an_interrupted_conversion_is_completed(
    at: int, root: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = renames._run

    def interrupted(*command: str, check: bool = True) -> int:
        if len(commands) == at:
            raise KeyboardInterrupt
        return run(*command, check=check)

    monkeypatch.setattr(renames, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        renames.main()
    assert (root / renames.MARKER).exists()
    monkeypatch.setattr(renames, "_run", run)
    assert renames.main() == 0
    left = [path for path in root.rglob("*") if "onebox-watch" in path.name or "-job-" in path.name]
    assert left == []


def test_a_server_that_never_had_monitoring_is_converted(root: Path, commands: list[str]) -> None:
    for path in [*root.rglob("*watch*"), *root.rglob("*job*")]:
        if path.is_file() and path != root / renames.MARKER:
            path.unlink()
    for folder in ("etc/onebox/watch/settings.json", "var/lib/onebox-watch/state.json"):
        (root / folder).unlink(missing_ok=True)
    assert renames.main() == 0
    assert not (root / renames.MARKER).exists()
    assert commands
