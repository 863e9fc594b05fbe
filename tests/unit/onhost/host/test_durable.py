"""What is on the disk, in which order: a missing fsync fails here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from onebox_release.host import durable


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Write down what is synced and renamed, by the names that files have at that moment."""
    done: list[str] = []
    fsync, rename, symlink = os.fsync, os.rename, os.symlink

    def name(path: Any) -> str:
        return Path(path).resolve(strict=False).relative_to(tmp_path.resolve()).as_posix()

    def synced(descriptor: int) -> None:
        done.append(f"fsync {name(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        fsync(descriptor)

    def renamed(old: Any, new: Any) -> None:
        done.append(f"rename {Path(old).name} {Path(new).name}")
        rename(old, new)

    def linked(target: Any, link: Any, *_: object, **__: object) -> None:
        done.append(f"symlink {target} {Path(link).name}")
        symlink(target, link)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "symlink", linked)
    return done


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, trace: list[str]) -> None:
    durable.write(tmp_path / "a", "text")
    assert trace == ["fsync .a.new", "rename .a.new a", "fsync ."]
    assert (tmp_path / "a").read_text() == "text"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_what_an_earlier_death_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_text("half")
    (tmp_path / ".b.new").symlink_to("half")
    durable.write(tmp_path / "a", "whole")
    durable.point(tmp_path / "b", "whole")
    assert (tmp_path / "a").read_text() == "whole"
    assert (tmp_path / "b").readlink() == Path("whole")


def test_a_pointer_moves_by_one_rename_and_then_its_folder_is_synced(
    tmp_path: Path, trace: list[str]
) -> None:
    durable.point(tmp_path / "current", "releases/a")
    durable.point(tmp_path / "current", "releases/b")
    moves = ["rename .current.new current", "fsync ."]
    assert trace == [
        "symlink releases/a .current.new",
        *moves,
        "symlink releases/b .current.new",
        *moves,
    ]


def test_a_line_is_on_the_disk_when_it_was_added(tmp_path: Path, trace: list[str]) -> None:
    durable.append(tmp_path / "a", "one")
    durable.append(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"
    assert trace.count("fsync a") == 2


def test_a_new_file_keeps_its_name(tmp_path: Path, trace: list[str]) -> None:
    durable.append(tmp_path / "a", "one")
    assert trace == ["fsync a", "fsync ."]


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntw")
    durable.append(tmp_path / "a", "drei")
    durable.append(tmp_path / "a", "vier")
    assert (tmp_path / "a").read_text() == "one\ntw\ndrei\nvier\n"
