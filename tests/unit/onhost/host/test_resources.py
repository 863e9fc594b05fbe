"""Room for one more release."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onebox_release.app import App
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import postgresql, resources, systemd
from onebox_release.host.resources import MIB


def disk(monkeypatch: pytest.MonkeyPatch, *, free: int, inodes: int, files: int = 1) -> None:
    found = SimpleNamespace(f_bavail=free, f_frsize=MIB, f_favail=inodes, f_files=files)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


@pytest.mark.parametrize(
    ("free", "inodes", "files", "environment"),
    [(108, 2000, 1, False), (408, 12_000, 1, True), (108, 0, 0, False)],
)
def test_room_enough_is_let_through(
    app: App, monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, files: int,
    *, environment: bool,
) -> None:  # fmt: skip
    disk(monkeypatch, free=free, inodes=inodes, files=files)
    resources.check_disk(app, 8 * MIB, environment=resources.ENVIRONMENT * environment)


@pytest.mark.parametrize(
    ("free", "inodes", "environment", "told"),
    [
        (107, 9999, False, "The disk has 107 MiB free; a release needs 108. Free some, or keep"),
        (407, 99_999, True, "a release needs 408"),
        (999, 1999, False, "The disk has 1999 inodes free; a release needs 2000"),
        (999, 11_999, True, "needs 12000"),
    ],
)
def test_too_little_is_refused_with_figures(
    app: App, monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, told: str,
    *, environment: bool,
) -> None:  # fmt: skip
    disk(monkeypatch, free=free, inodes=inodes)
    with pytest.raises(RefusedError, match=told):
        resources.check_disk(app, 8 * MIB, environment=resources.ENVIRONMENT * environment)


SIZE = "select pg_database_size('links')"


def asked(monkeypatch: pytest.MonkeyPatch, code: int, output: str) -> None:
    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        assert command[:3] == ["runuser", "-u", "postgres"]
        assert command[-4:] == ["-d", "postgres", "-c", SIZE]
        return subprocess.CompletedProcess(command, code, output, output)

    monkeypatch.setattr(postgresql, "captured", run)


def test_a_dump_needs_as_much_as_the_database(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, 0, f"{50 * MIB}\n")
    disk(monkeypatch, free=150, inodes=2000)
    resources.check_disk(app, dump=True)
    disk(monkeypatch, free=149, inodes=2000)
    resources.check_disk(app)
    with pytest.raises(RefusedError, match="has 149 MiB free; a dump of the database needs 150"):
        resources.check_disk(app, dump=True)


def test_a_database_that_can_not_be_measured_is_not_dumped(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, 2, "no such socket\n")
    with pytest.raises(ReleaseError, match=r"got an error from postgres: no such socket$"):
        resources.check_disk(app, dump=True)


def test_memory_for_two_releases_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory", lambda: (100 * MIB, 1000 * MIB))
    resources.check_memory(100 * MIB)
    with pytest.raises(RefusedError, match="need 101 MiB more memory; 100 MiB are available"):
        resources.check_memory(101 * MIB)


@pytest.mark.parametrize("limit", [str(100 * MIB), "infinity", ""])
def test_two_releases_must_fit_in_the_apps_own_limit(
    app: App, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(systemd, "show", lambda unit, _: {"MemoryMax": limit} if unit else {})
    resources.check_limit(app, 100 * MIB)
    if limit.isdigit():
        with pytest.raises(RefusedError, match=r"need 101 MiB.*limit is 100 MiB \(onebox-links"):
            resources.check_limit(app, 101 * MIB)


def test_memory_is_read_from_the_kernel() -> None:
    available, total = resources.memory()
    assert 0 < available <= total


def test_a_units_memory_is_that_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "processes", lambda _: [os.getpid(), 2**22 + 1])
    assert resources.memory_of(["links-web@a.service"]) > MIB


def test_the_memory_of_all_units_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = {"links-web@a.service": [1, 2], "links-queue@a.service": [4]}
    monkeypatch.setattr(systemd, "processes", processes.__getitem__)
    monkeypatch.setattr(resources, "_pss", lambda process: process)
    assert resources.memory_of(processes) == 7


@pytest.mark.parametrize(
    ("wanted", "available", "seconds"), [(60, 15, 60), (60, 14, 10), (5, 14, 5)]
)
def test_scarce_memory_shortens_the_watch(wanted: int, available: int, seconds: int) -> None:
    assert resources.watch_time(wanted, available, 100) == seconds


def test_a_dump_is_measured_where_it_is_written(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """/var may be another file system than /srv."""
    asked(monkeypatch, 0, f"{50 * MIB}\n")
    free = {app.home: 9999, app.state: 149}

    def statvfs(path: Any) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=free[path], f_frsize=MIB, f_favail=9999, f_files=1)

    monkeypatch.setattr(os, "statvfs", statvfs)
    with pytest.raises(RefusedError, match="has 149 MiB free; a dump of the database needs 150"):
        resources.check_disk(app, dump=True)
    free[app.state] = 150
    resources.check_disk(app, dump=True)
    free[app.home] = 99
    with pytest.raises(RefusedError, match="a release needs 100"):
        resources.check_disk(app, dump=True)


def test_a_last_copy_is_measured_where_it_is_written(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, 0, f"{50 * MIB}\n")
    app.copies.mkdir(parents=True)
    disk(monkeypatch, free=160, inodes=9999)
    resources.check_copy(app, 10 * MIB, dump=True)
    with pytest.raises(RefusedError, match=r"a final backup needs 161.*--no-dump"):
        resources.check_copy(app, 11 * MIB, dump=True)
    resources.check_copy(app, 60 * MIB, dump=False)


@pytest.mark.parametrize(("wheels", "needed"), [(0, 300), (10 << 20, 300), (900 << 20, 9000)])
def test_an_environment_is_estimated_by_its_wheels(wheels: int, needed: int) -> None:
    assert resources.environment(wheels) == needed * MIB


def test_a_reserve_of_the_disk_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, inodes, full in ((100, 2000, False), (99, 2000, True), (100, 1999, True)):
        disk(monkeypatch, free=free, inodes=inodes)
        assert resources.is_full(tmp_path) == full


def test_files_without_content_are_counted(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    (tmp_path / "link").symlink_to("/")
    assert resources.files(tmp_path) == 22
    assert resources.files(tmp_path / "missing") == 0
