"""An archive: the same bytes for the same files, wherever and however they lie."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from operations.artifact import Artifact, pack

KEPT = {"links/main.py": "app = None\n", "pyproject.toml": "[project]\n", "run.sh": "#!/bin/sh\n"}
CACHES = [".venv/bin/python", "links/__pycache__/main.pyc", ".env", ".ruff_cache/x"]


def lay(folder: Path, names: list[str]) -> Path:
    """Write the files that belong to an app, in a given order."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KEPT.get(name, "x"))
    (folder / "run.sh").chmod(0o755)
    return folder


def entries(artifact: Artifact) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(artifact.content), mode="r:gz") as archive:
        return archive.getmembers()


def names(artifact: Artifact) -> list[str]:
    return [entry.name for entry in entries(artifact)]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return lay(tmp_path / "app", list(KEPT))


def test_the_same_files_are_the_same_bytes(app: Path, tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        other = lay(tmp_path / "else/where", list(reversed(KEPT)))
    finally:
        os.umask(mask)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    (other / "run.sh").chmod(0o700)
    assert pack(other) == pack(app)


def test_the_digest_is_of_what_is_inside(app: Path) -> None:
    artifact = pack(app)
    assert artifact.digest == sha256(gzip.decompress(artifact.content)).hexdigest()
    assert repr(artifact) == f"Artifact({artifact.digest[:12]})"


def test_a_changed_byte_is_another_artifact(app: Path) -> None:
    before = pack(app).digest
    (app / "links/main.py").write_text("app = True\n")
    assert pack(app).digest != before


def test_a_renamed_file_is_another_artifact(app: Path) -> None:
    before = pack(app).digest
    (app / "links/main.py").rename(app / "links/web.py")
    assert pack(app).digest != before


def test_whether_a_file_is_executable_is_kept(app: Path) -> None:
    assert {entry.name: entry.mode for entry in entries(pack(app))} == {
        "links/main.py": 0o644,
        "pyproject.toml": 0o644,
        "run.sh": 0o755,
    }
    before = pack(app).digest
    (app / "run.sh").chmod(0o644)
    assert pack(app).digest != before


def test_nothing_of_who_packed_it_is_kept(app: Path) -> None:
    for entry in entries(pack(app)):
        assert (entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) == (
            0, 0, "root", "root", 0,
        )  # fmt: skip


def test_a_hard_link_and_a_symlink_are_files_like_any(app: Path) -> None:
    (app / "a.txt").write_text("x")
    (app / "b.txt").hardlink_to(app / "a.txt")
    (app / "c.txt").symlink_to("a.txt")
    linked = pack(app)
    for name in ("b.txt", "c.txt"):
        (app / name).unlink()
        shutil.copy(app / "a.txt", app / name)
    assert pack(app) == linked
    assert all(entry.isfile() for entry in entries(linked))


def test_without_git_caches_are_left_out(app: Path) -> None:
    lay(app, [*KEPT, *CACHES])
    assert names(pack(app)) == sorted(KEPT)


def test_with_git_what_it_ignores_is_left_out(app: Path) -> None:
    lay(app, [*KEPT, *CACHES, "secrets.env", "new.py", "gone.py"])
    (app / ".gitignore").write_text(".venv/\n__pycache__/\n.env\n.ruff_cache/\nsecrets.env\n")
    git(app, "init", "--quiet")
    git(app, "add", "gone.py", "run.sh")
    (app / "gone.py").unlink()
    assert names(pack(app)) == sorted([".gitignore", "new.py", *KEPT])


def test_an_app_in_a_folder_of_a_repository_is_packed_alone(app: Path) -> None:
    git(app.parent, "init", "--quiet")
    (app.parent / "inventory.py").write_text("hosts = []\n")
    assert names(pack(app)) == sorted(KEPT)


def test_git_or_no_git_is_the_same_artifact(app: Path) -> None:
    before = pack(app)
    git(app.parent, "init", "--quiet")
    assert pack(app) == before


def test_a_checkout_that_git_does_not_read_is_refused(tmp_path: Path) -> None:
    """Without git's word on what is ignored, secrets could be shipped."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "secrets.env").write_text("A=b")
    with pytest.raises(PyinfraError, match="git can't list the files"):
        pack(tmp_path)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(PyinfraError, match="links to a folder"):
        pack(tmp_path)
