"""A release's folder: whole or not there."""

from __future__ import annotations

import errno
import grp
import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from onebox_release import faults
from onebox_release.app import App
from onebox_release.core import build, identity
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import durable, resources
from onebox_release.install import handover, packages
from onebox_release.install.credentials import Credentials
from onebox_release.install.packages import Project
from onebox_release.install.uv_unit import Builder

LOCK = b"""
[[package]]
name = "fastapi"
version = "1"
source = { registry = "https://pypi.org/simple" }
"""
PROJECT = b"[project]\nname = 'links'\nversion = '1'\n[tool.uv]\nkeyring-provider = 'subprocess'\n"
FILES = {"uv.lock": LOCK, "pyproject.toml": PROJECT, "links/main.py": b"app = None"}


@dataclass
class Installation:
    """What a builder was asked for."""

    project: Project
    venv: Path
    given: Credentials
    by_key: bool


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> list[Installation]:
    """Stand in for uv, for the app's group, and for a disk with room."""
    ran: list[Installation] = []

    def install(
        self: Builder, project: Project, venv: Path, staging: Path, given: Credentials
    ) -> None:
        ran.append(Installation(project, venv, given, self.by_key))
        assert not venv.exists()
        staging.mkdir()
        (staging / ".lock").touch()

    monkeypatch.setattr(Builder, "install", install)
    monkeypatch.setattr(handover, "transfer_to_root", lambda *_: None)
    monkeypatch.setattr(resources, "check_disk", lambda *_, **__: None)
    monkeypatch.setattr(build, "SERVERS", Path("/nonexistent"))
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.getgrgid(os.getgid()))
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return ran


def environment(app: App, files: dict[str, bytes], *, build: bool = False) -> Path:
    """Return the folder of the environment that an archive's files make."""
    key = packages.read(files, packages.Rules(build=build, by_key=False)).key
    return app.home / "venvs" / identity.environment_key(key, app)


@pytest.fixture
def configured(app: App) -> App:
    (app.configuration / "gunicorn.conf.py").write_text("workers = 1\n")
    (app.configuration / "static").write_text("# nothing\n")
    (app.configuration / "app.env").write_text('A="b"\n')
    return app


def arrive(app: App, files: dict[str, bytes] | None = None, **attributes: Any) -> str:
    """Put an archive where the deployer would, and return its digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (files or FILES).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in attributes.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    app.incoming(digest).write_bytes(gzip.compress(content))
    return digest


def make(app: App, digest: str) -> None:
    build.build(app.release("a-1"), digest, Credentials())


def test_a_release_has_code_environment_and_links(
    configured: App, uv: list[Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    points: list[str] = []
    monkeypatch.setattr(faults, "point", points.append)
    make(configured, arrive(configured, mode=0o4750))
    folder = configured.release("a-1").folder
    venv = environment(configured, FILES)
    assert (folder / "app/links/main.py").read_bytes() == b"app = None"
    assert (folder / "gunicorn.conf.py").read_text() == "workers = 1\n"
    assert (folder / "venv").readlink() == venv
    assert (folder / "run").readlink() == configured.release("a-1").socket.parent
    assert configured.release("a-1").environment.read_text() == 'A="b"\nONEBOX_RELEASE=a-1\n'
    assert configured.release("a-1").environment.stat().st_mode & 0o777 == 0o600
    assert (folder / "app").stat().st_mode & 0o777 == 0o750
    assert (folder / "app/links/main.py").stat().st_mode & 0o7777 == 0o755
    assert (venv / build.MARKER).exists()
    assert not (venv / ".lock").exists()
    [installation] = uv
    assert (installation.venv, installation.given, installation.by_key) == (
        venv,
        Credentials(),
        False,
    )
    assert installation.project.files["uv.lock"] == LOCK
    assert b"keyring" not in installation.project.files["pyproject.toml"]
    assert points == ["unpacked", "installed", "configured"]


def test_what_is_there_is_not_made_again(configured: App, uv: list[Installation]) -> None:
    digest = arrive(configured)
    make(configured, digest)
    configured.incoming(digest).unlink()
    make(configured, digest)
    assert len(uv) == 1


def test_requirements_stand_in_for_a_lock(configured: App, uv: list[Installation]) -> None:
    files = {"requirements.txt": b"fastapi==1.2  # via links\n", "links/main.py": b"app = None"}
    make(configured, arrive(configured, files))
    assert (configured.release("a-1").folder / "venv").readlink() == environment(configured, files)
    [installation] = uv
    assert installation.project.files == {"requirements.txt": b"fastapi==1.2\n"}


def test_ignored_settings_are_reported(
    configured: App, uv: list[Installation], capsys: pytest.CaptureFixture[str]
) -> None:
    del uv
    make(configured, arrive(configured))
    assert "Settings that the server ignores: 'pyproject.toml, [tool.uv]: keyring-provider'" in (
        capsys.readouterr().err
    )


def test_a_deploy_keys_environment_is_no_persons(configured: App, uv: list[Installation]) -> None:
    files = {"requirements.txt": b"fastapi==1.2 --hash=sha256:" + b"ab" * 32}
    for release, by_key in (("a-1", True), ("a-2", False)):
        app = configured.with_parameters(by_key=by_key)
        build.build(app.release(release), arrive(configured, files), Credentials())
    assert [installation.by_key for installation in uv] == [True, False]
    assert uv[0].venv != uv[1].venv


def test_settings_beside_the_pins_make_another_environment(
    configured: App, uv: list[Installation]
) -> None:
    """Without hashes they say where a package comes from."""
    pins = {"requirements.txt": b"fastapi==1.2\n"}
    for release, settings in (("a-1", b""), ("a-2", b'index-url = "https://other.example/"')):
        digest = arrive(configured, {**pins, "uv.toml": settings})
        build.build(configured.release(release), digest, Credentials())
    assert uv[0].venv != uv[1].venv


def test_folders_for_nginx_get_a_public_twin(configured: App, uv: list[Installation]) -> None:
    del uv
    (configured.configuration / "static").write_text("# Made by onebox\nassets/a links/static\n")
    make(configured, arrive(configured, FILES | {"links/static/css/a.css": b"a {}"}, mode=0o644))
    folder = configured.release("a-1").folder
    twin, code = folder / "static/assets/a/css/a.css", folder / "app/links/static/css/a.css"
    assert twin.read_bytes() == b"a {}"
    assert twin.stat().st_ino == code.stat().st_ino, "it takes no room"
    assert (folder / "static").stat().st_mode & 0o777 == 0o755


def test_a_missing_static_folder_is_reported(configured: App, uv: list[Installation]) -> None:
    del uv
    (configured.configuration / "static").write_text("assets dist\n")
    with pytest.raises(
        ReleaseError, match=r"no folder dist to serve. It has no files that git ignores"
    ):
        make(configured, arrive(configured))
    assert not configured.release("a-1").folder.exists()


def test_building_from_source_is_a_setting(configured: App, uv: list[Installation]) -> None:
    app = configured.with_parameters(build=True)
    build.build(app.release("a-1"), arrive(configured), Credentials())
    assert [uv[0].project.builds, uv[0].venv] == [True, environment(configured, FILES, build=True)]


@pytest.mark.usefixtures("uv")
def test_all_is_on_the_disk_before_a_name_or_marker_says_so(
    configured: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = durable.rename

    def renamed(new: Path, path: Path) -> None:
        done.append(path.name)
        rename(new, path)

    monkeypatch.setattr(os, "sync", lambda: done.append("sync"))
    monkeypatch.setattr(durable, "rename", renamed)
    make(configured, arrive(configured))
    assert done == ["sync", "a-1", ".manifest", "sync", ".complete", "a-1.env", ".manifest"]


@pytest.mark.usefixtures("uv")
@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("../out", {}),
        ("/out", {}),
        ("a/../../out", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("hard", {"type": tarfile.LNKTYPE, "linkname": "uv.lock"}),
        ("fifo", {"type": tarfile.FIFOTYPE, "size": 0}),
        ("folder", {"type": tarfile.DIRTYPE, "size": 0}),
        ("sparse", {"pax_headers": {"GNU.sparse.size": "99999999", "GNU.sparse.map": "0,1"}}),
    ],
)
def test_an_archive_has_plain_files_below_its_folder_alone(
    configured: App, name: str, attributes: dict[str, Any]
) -> None:
    with pytest.raises(ReleaseError, match="is not a regular file"):
        make(configured, arrive(configured, {name: b""}, **attributes))
    assert not configured.release("a-1").folder.exists()


@pytest.mark.usefixtures("uv")
def test_an_archive_without_a_lock_file_is_refused(configured: App) -> None:
    with pytest.raises(ReleaseError, match=r"The archive has no uv\.lock"):
        make(configured, arrive(configured, {"links/main.py": b""}))
    assert list((configured.home / "releases").iterdir()) == []


@pytest.mark.usefixtures("uv")
def test_room_is_asked_for_what_is_missing(
    configured: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def check(_: App, code: int, entries: int, *, environment: int) -> None:
        asked.append((code, entries, environment))

    monkeypatch.setattr(resources, "check_disk", check)
    digest = arrive(configured)
    for release in ("a-1", "a-1", "a-2"):
        build.build(configured.release(release), digest, Credentials())
    size = sum(map(len, FILES.values()))
    assert asked == [(size, 5, resources.ENVIRONMENT), (size, 5, 0)]


@pytest.mark.usefixtures("uv")
def test_without_room_nothing_is_unpacked(configured: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RefusedError("no room")

    monkeypatch.setattr(resources, "check_disk", refuse)
    with pytest.raises(RefusedError, match="no room"):
        make(configured, arrive(configured))
    assert list((configured.home / "releases").iterdir()) == []


def test_a_missing_archive_is_reported_as_absent(configured: App) -> None:
    with pytest.raises(ReleaseError, match=r"Cannot read the archive.* \(abc"):
        make(configured, "abc")


@pytest.mark.parametrize("cut", [5, 40])
def test_a_cut_archive_is_refused(configured: App, cut: int) -> None:
    digest = arrive(configured)
    path = configured.incoming(digest)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ReleaseError, match="Cannot read"):
        make(configured, digest)


def test_another_archive_is_refused(configured: App) -> None:
    configured.incoming("abc").write_bytes(gzip.compress(b"other"))
    with pytest.raises(ReleaseError, match="does not match its announced SHA-256"):
        make(configured, "abc")


def test_a_damaged_archive_is_an_error_in_words(configured: App) -> None:
    configured.incoming("abc").write_bytes(gzip.compress(b"")[:10] + b"\xff" * 20)
    with pytest.raises(ReleaseError, match=r"Cannot read the archive.* \(abc"):
        make(configured, "abc")


@pytest.mark.usefixtures("uv")
@pytest.mark.parametrize("step", [(Builder, "install"), (handover, "transfer_to_root")])
def test_packages_that_can_not_be_had_leave_no_environment(
    configured: App, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    def fail(*_: object) -> None:
        raise ReleaseError("no such package")

    monkeypatch.setattr(*step, fail)
    with pytest.raises(ReleaseError, match="no such package"):
        make(configured, arrive(configured))
    assert list((configured.home / "venvs").iterdir()) == []


@pytest.mark.usefixtures("uv")
def test_a_full_disk_leaves_no_release(configured: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    digest = arrive(configured)
    monkeypatch.setattr(Path, "symlink_to", full)
    with pytest.raises(OSError, match="full"):
        make(configured, digest)
    assert list((configured.home / "releases").iterdir()) == [], "what is half made is gone"


@pytest.mark.usefixtures("uv")
def test_what_a_killed_deploy_left_unfinished_is_rebuilt(configured: App) -> None:
    half = configured.home / "releases/.a-1.new/app"
    half.mkdir(parents=True)
    (half / "stale.py").touch()
    venv = environment(configured, FILES)
    venv.mkdir()
    (venv / "stale").touch()
    make(configured, arrive(configured))
    assert not (configured.release("a-1").folder / "app/stale.py").exists()
    assert not (venv / "stale").exists()
    assert not half.parent.exists()
