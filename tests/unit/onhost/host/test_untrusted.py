"""Root's handling of files that other users can write to."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from onebox_release.errors import ReleaseError
from onebox_release.host import untrusted


def test_a_regular_file_is_read_as_far_as_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert untrusted.read(path) == b"x" * 10
    assert untrusted.read(path, 4) == b"x" * 4


def test_nothing_else_is_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in (tmp_path / "fifo", tmp_path / "folder", tmp_path / "link", "/dev/zero"):
        with pytest.raises(OSError, match=r"regular|symbolic|directory"):
            untrusted.read(path)
    assert untrusted.read(tmp_path / "link", links=True)


def test_a_link_is_deleted_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/link").symlink_to(tmp_path / "kept")
    untrusted.delete(tmp_path / "gone")
    untrusted.delete(tmp_path / "gone")
    assert os.listdir(tmp_path) == ["kept"]  # noqa: PTH208


def test_an_archive_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="find failed"):
        untrusted.archive(tmp_path / "a.tar.gz", tmp_path / "nothing", root=tmp_path, most=1 << 20)
    assert not list(tmp_path.iterdir()), "half of one would fill the disk"


def test_an_archive_takes_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_bytes(os.urandom(200_000))
    file = tmp_path / "a.tar.gz"
    with pytest.raises(ReleaseError, match="tar failed"):
        untrusted.archive(file, tmp_path / "data", root=tmp_path, most=100_000)
    assert not file.exists()
    untrusted.archive(file, tmp_path / "data", root=tmp_path, most=300_000)
    assert file.stat().st_size > 200_000


def test_an_archive_leaves_out_what_is_too_deep(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "data" / "/".join("d" * 100)).mkdir(parents=True)
    (root / "data/a\nb -- c").touch()
    assert untrusted.archive(tmp_path / "a.tar.gz", root / "data", root=root, most=1 << 20)
    (root / "data" / "/".join("d" * 101)).mkdir()
    assert not untrusted.archive(tmp_path / "b.tar.gz", root / "data", root=root, most=1 << 20)
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}.tar.gz") as file:
            assert max(member.count("/") for member in file.getnames()) == 100
            assert "data/a\nb -- c" in file.getnames()
