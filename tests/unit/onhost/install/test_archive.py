"""Archives are read as streams, within limits, and hold plain files alone."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.install.archive import BY_KEY, DEPTH, Limits, members

from operations.artifact import pack


def entry(
    name: str, content: bytes = b"", form: Literal[0, 1, 2] = tarfile.PAX_FORMAT, **attributes: Any
) -> bytes:
    """Return a member as tarfile writes it."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member.tobuf(form) + filled(content)


def filled(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def header(kind: bytes, content: bytes) -> bytes:
    """Return a header that goes before another one."""
    return entry("x", type=kind, size=len(content)) + filled(content)


END = bytes(1024)


def read(content: bytes, limits: Limits = BY_KEY) -> dict[str, bytes]:
    found = members(io.BytesIO(content), limits)
    return {member.name: b"".join(member.chunks()) for member in found}


def test_what_the_deployer_packs_is_read_whole(tmp_path: Path) -> None:
    files = {
        "a": b"", "b/c": b"x" * 70_000, "é": b"1", "n" * 200: b"2", f"{'d' * 90}/{'e' * 90}": b"3",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "a").chmod(0o755)
    content = gzip.decompress(pack(tmp_path).content)
    assert read(content) == files
    executable = {m.name: m.executable for m in members(io.BytesIO(content), BY_KEY)}
    assert [name for name, is_one in executable.items() if is_one] == ["a"]


def test_members_that_nobody_reads_are_passed_over() -> None:
    content = entry("a", b"x" * 1000) + entry("b", b"y") + END
    assert [member.name for member in members(io.BytesIO(content), BY_KEY)] == ["a", "b"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_way_to_write_a_long_name_is_understood(form: Literal[0, 1, 2]) -> None:
    name = f"{'d' * 120}/{'e' * 90}"
    member = tarfile.TarInfo(name)
    assert list(read(member.tobuf(form) + END)) == [name]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "upwards": lambda: entry("../a"),
    "upwards in the middle": lambda: entry("a/../../b"),
    "absolute": lambda: entry("/etc/planted"),
    "absolute by its prefix": lambda: entry("a").replace(b"a\0", b"/\0", 1),
    "an empty part": lambda: entry("a//b"),
    "a dot": lambda: entry("a/./b"),
    "no name": lambda: entry(""),
    "a line break": lambda: entry("a\nb"),
    "an escape": lambda: entry("a\x1b[2Jb"),
    "a link": lambda: entry("a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": lambda: entry("a", type=tarfile.LNKTYPE, linkname="b"),
    "a folder": lambda: entry("a", type=tarfile.DIRTYPE),
    "a pipe": lambda: entry("a", type=tarfile.FIFOTYPE),
    "a device": lambda: entry("a", type=tarfile.BLKTYPE),
    "an unknown kind": lambda: entry("a", type=b"Z"),
    "a contiguous file": lambda: entry("a", type=tarfile.CONTTYPE),
    "a sparse file": lambda: entry("a", type=tarfile.GNUTYPE_SPARSE),
    "a sparse file, extended": lambda: header(b"x", b"28 GNU.sparse.size=99999999\n") + entry("a"),
    "a size behind the header's back": lambda: header(b"x", b"18 size=999999999\n") + entry("a"),
    "a path behind the header's back": lambda: header(b"x", b"14 path=/etc/a\n") + entry("a"),
    "a long name that is absolute": lambda: header(b"L", b"/etc/planted\0") + entry("a"),
    "twice": lambda: entry("a") + entry("a"),
    "a file as a folder": lambda: entry("a") + entry("a/b"),
    "a folder as a file": lambda: entry("a/b") + entry("a"),
    "a long path": lambda: header(b"L", b"/".join([b"a" * 200] * 6)) + entry("a"),
    "a long part": lambda: header(b"L", b"a" * 256) + entry("a"),
    "a deep path": lambda: entry("/".join("a" * (DEPTH + 1))),
    "a damaged sum": lambda: entry("a").replace(b"ustar", b"ustas"),
    "no number": lambda: entry("a", size=0).replace(b"00000000000", b"0000000000x", 1),
    "a negative size": lambda: entry("a", size=-1, form=tarfile.GNU_FORMAT),
    "a size in binary": lambda: entry("a", size=1 << 40, form=tarfile.GNU_FORMAT),
    "a huge header": lambda: header(b"x", b"x" * 9000) + entry("a"),
    "a broken header": lambda: header(b"x", b"99 path=a\n") + entry("a"),
    "a header without an end": lambda: header(b"x", b"path") + entry("a"),
    "cut off": lambda: entry("a", size=5000)[:600],
    "more behind the end": lambda: entry("a") + END + entry("b"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_anything_but_plain_files_is_refused(what: str) -> None:
    with pytest.raises(ReleaseError, match="The archive ") as error:
        read(HOSTILE[what]() + (b"" if what == "cut off" else END))
    assert str(error.value).isprintable()


def test_files_and_the_folders_that_they_need_are_counted() -> None:
    content = b"".join(entry(f"{number}/a/b/c/f") for number in range(4)) + END
    assert len(read(content, Limits(1 << 20, 20))) == 4
    with pytest.raises(RefusedError, match="more than 19 files and folders"):
        read(content, Limits(1 << 20, 19))


def test_bytes_are_counted_as_they_are_claimed_and_as_they_come() -> None:
    for content in (entry("a", size=2 << 20), entry("a", b"x" * (2 << 20)), bytes(4 << 20)):
        with pytest.raises(RefusedError, match="larger than 1 MiB"):
            read(content, Limits(1 << 20, 10))


@pytest.mark.parametrize("kind", [b"L", b"x", b"g"])
def test_headers_before_headers_take_no_stack_and_no_time(kind: bytes) -> None:
    """Python's tarfile goes one level deeper with each of them."""
    one = header(kind, b"9 path=a\n" if kind == b"x" else b"a" * 9)
    begun = time.monotonic()
    assert list(read(one * 20_000 + entry("a") + END)) == ["a" * 9 if kind == b"L" else "a"]
    assert time.monotonic() - begun < 5
