"""Rename on a server what an older onebox called otherwise.

The deployer pipes this program over its SSH connection as soon as the new programs are installed.
It keeps the configuration that is there, so that a deploy which fails later leaves monitoring and
timers running. MARKER is removed last: an interrupted run is completed by the next one.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

ROOT = Path("/")
MARKER = "usr/local/bin/onebox-watch"
NAMES = {
    "onebox-watch": "onebox-checks",
    "onebox/watch": "onebox/checks",
    "onebox-job-": "onebox-timer-",
    "onebox-release job ": "onebox-release timer ",
}
FOLDERS = "etc/onebox/watch", "var/lib/onebox-watch", "run/onebox-watch"
ROUND = 150  # seconds after which systemd ends a round of checks


def main() -> int:
    """Rename the user, folders, units and what refers to them."""
    units = ROOT / "etc/systemd/system"
    old = sorted([*units.glob("onebox-watch.*"), *units.glob("onebox-job-*")])
    timers = [path.name for path in old if path.suffix == ".timer"]
    if timers:
        _run("systemctl", "disable", "--quiet", "--now", *timers)
    _wait_for_round()
    for database, rename in (("passwd", "usermod --login"), ("group", "groupmod --new-name")):
        if not _run("getent", database, "onebox-watch", check=False):
            _run(*rename.split(), "onebox-checks", "onebox-watch")
    for folder in FOLDERS:
        _move(ROOT / folder)
    for results in ROOT.glob("var/lib/onebox/*/jobs"):
        if not results.is_symlink():
            results.rename(results.with_name("timers"))
            results.symlink_to("timers")  # a run that began before writes its result there
    others = "etc/sysusers.d/onebox-watch.conf", "etc/onebox/checks/settings.json"
    changed = [*old, *(ROOT / path for path in others), units / "onebox-updates.service"]
    for path in changed:
        _replace(path)
        if path.suffix == ".timer":
            _move(ROOT / f"var/lib/systemd/timers/stamp-{path.name}")
    _correct_manifest(ROOT / "etc/onebox/checks/manifest", changed)
    _run("systemctl", "daemon-reload")
    if timers:
        _run("systemctl", "enable", "--quiet", "--now", *map(renamed, timers))
    os.sync()
    (ROOT / MARKER).unlink(missing_ok=True)
    return 0


def renamed(text: str) -> str:
    """Return a text with today's names."""
    for name, today in NAMES.items():
        text = text.replace(name, today)
    return text


def _wait_for_round() -> None:
    """Wait for a round of checks to end: stopped, it would notify twice."""
    show = "systemctl", "show", "--property=ActiveState", "--value", "onebox-watch.service"
    for _ in range(ROUND):
        if (
            subprocess.run(show, capture_output=True, text=True, check=True).stdout
            != "activating\n"
        ):
            return
        time.sleep(1)


def _move(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.rename(renamed(str(path)))


def _replace(path: Path) -> None:
    """Replace a file by one with today's name and content."""
    if path.exists():
        new = path.with_name(f".{path.name}.new")
        new.touch(mode=0o600)
        new.write_text(renamed(path.read_text()))
        new.chmod(path.stat().st_mode)
        new.rename(renamed(str(path)))
        if path.name != renamed(path.name):
            path.unlink()


def _correct_manifest(manifest: Path, changed: list[Path]) -> None:
    """Correct the names and checksums of changed files, so that no edit is reported.

    An edit of another file stays one.
    """
    if not manifest.exists():
        return
    today = {"/" + renamed(str(path.relative_to(ROOT))) for path in changed}
    lines = []
    for line in manifest.read_text().splitlines():
        digest, _, path = renamed(line).partition("  ")
        file = ROOT / path.lstrip("/")
        if path in today and file.exists():
            digest = sha256(file.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path}\n")
    new = manifest.with_name("manifest.new")
    new.touch(mode=0o600)
    new.write_text("".join(lines))
    new.rename(manifest)


def _run(*command: str, check: bool = True) -> int:
    return subprocess.run(command, check=check, stdout=subprocess.DEVNULL).returncode
