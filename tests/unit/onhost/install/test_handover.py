"""What the build user made becomes root's, and nothing comes along."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from onebox_release.errors import ReleaseError
from onebox_release.install import handover

PYTHON = "/usr/bin/python3.11"


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let anybody run these."""
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An environment as uv makes it."""
    folder = tmp_path / "made"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib/python3.11").mkdir(parents=True)
    (folder / "bin/python").symlink_to(PYTHON)
    (folder / "bin/python3").symlink_to("python")
    (folder / "lib64").symlink_to("lib")
    (folder / "bin/alembic").write_text("#!")
    (folder / "bin/alembic").chmod(0o770)
    (folder / "lib/python3.11/a.py").write_text("x")
    (folder / "lib/python3.11/a.py").chmod(0o606)
    return folder


def test_files_keep_their_content_and_one_bit(made: Path) -> None:
    taken = handover.transfer_to_root(made, PYTHON)
    assert taken.files == 8
    modes = {path.name: path.stat().st_mode & 0o7777 for path in made.rglob("*") if path.is_file()
             and not path.is_symlink()}  # fmt: skip
    assert modes == {"alembic": 0o755, "a.py": 0o644}
    assert (made / "lib").stat().st_mode & 0o7777 == 0o755


def deep(made: Path) -> None:
    """Go down further than Python's own functions can."""
    here = os.open(made, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def fifo(made: Path) -> None:
    os.mkfifo(made / "pipe")


def setuid(made: Path) -> None:
    (made / "bin/alembic").chmod(0o4755)


def setgid(made: Path) -> None:
    (made / "bin/alembic").chmod(0o2755)


def hard_link(made: Path) -> None:
    (made.parent / "others").write_text("x")
    os.link(made.parent / "others", made / "linked")


def named(name: str) -> Callable[[Path], None]:
    return lambda made: (made / name).touch()


def link(target: str) -> Callable[[Path], None]:
    return lambda made: (made / "link").symlink_to(target)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (fifo, "is not a file, folder or link"),
    "setuid": (setuid, "has a setuid or setgid bit"),
    "setgid": (setgid, "has a setuid or setgid bit"),
    "a hard link": (hard_link, "has more than one hard link"),
    "an absolute link": (link("/etc/shadow"), "points out"),
    "a link upwards": (link("../../etc/shadow"), "points out"),
    "a link down and up": (link("lib/../../x"), "points out"),
    "another interpreter": (link("/tmp/python3"), "points out"),  # noqa: S108
    "a link that is a control character": (link("\x1b[2J"), "points out"),
    "a line break": (named("a\nb"), "has an invalid or too long path"),
    "an escape": (named("a\x1b[2Jb"), "has an invalid or too long path"),
    "depth": (deep, "has an invalid or too long path"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_anything_else_is_refused_and_named(made: Path, what: str) -> None:
    make, why = HOSTILE[what]
    make(made)
    with pytest.raises(ReleaseError, match=why) as error:
        handover.transfer_to_root(made, PYTHON)
    assert str(error.value).isprintable()
    os.system(f"rm -rf {made}")  # noqa: S605 - pytest can't go down so deep either


def test_bytes_and_files_are_counted(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "MOST_FILES", 7)
    with pytest.raises(ReleaseError, match="limit of an environment: 20 GiB and 7 files"):
        handover.transfer_to_root(made, PYTHON)
    monkeypatch.setattr(handover, "MOST_FILES", 8)
    monkeypatch.setattr(handover, "MOST_BYTES", 1000)
    with pytest.raises(ReleaseError, match="exceeds the limit"):
        handover.transfer_to_root(made, PYTHON)


def test_lists_of_other_rights_are_removed(made: Path) -> None:
    try:
        os.setxattr(made / "bin/alembic", "user.rights", b"x")
    except OSError:
        pytest.skip("the file system has no attributes")
    handover.transfer_to_root(made, PYTHON)
    assert os.listxattr(made / "bin/alembic") == []
