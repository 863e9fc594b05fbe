"""What a deploy key may ask for, and what it may send."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from onebox_release import lock, parameters, submit
from onebox_release.errors import LockedError, RefusedError
from onebox_release.unit import PROGRAM

DIGEST = "0" * 64
APPS = ["links", "shop"]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run, and a lock that is free."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 7)

    @contextmanager
    def locked(_: str) -> Iterator[str]:
        yield ""

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(lock, "locked", locked)
    monkeypatch.setattr(parameters, "read", lambda _: None)
    monkeypatch.setattr(submit, "receive", lambda *_: commands.append(["receive"]))
    return commands


def test_status_is_told(ran: list[list[str]]) -> None:
    assert submit.serve("status shop", APPS) == 7
    assert ran == [[PROGRAM, "status", "shop", "--json"]]


def test_an_archive_is_received_and_deployed(ran: list[list[str]]) -> None:
    assert submit.serve(f"submit links {DIGEST}", APPS) == 7
    assert ran == [["receive"], [PROGRAM, "deploy", "links", DIGEST]]


def test_nothing_is_received_while_another_deploys(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def locked(_: str) -> Iterator[str]:
        yield "Ann is deploying"

    monkeypatch.setattr(lock, "locked", locked)
    with pytest.raises(LockedError, match="Ann is deploying"):
        submit.serve(f"submit links {DIGEST}", APPS)
    assert ran == []


@pytest.mark.parametrize(
    "request_",
    [
        "", " ", "sh", "status", "status other", "status links ", " status links", "status links\n",
        "status links shop", "status ../links", "submit links", f"submit other {DIGEST}",
        f"submit links {DIGEST} --allow-incompatible", f"submit links {DIGEST}0",
        "submit links " + "A" * 64, f"submit links {DIGEST}\nid", f"SUBMIT links {DIGEST}",
        "submit links ../../../../../../../../../../../../../../../../../etc/passwd",
    ],
)  # fmt: skip
def test_anything_else_is_refused(ran: list[list[str]], request_: str) -> None:
    with pytest.raises(RefusedError, match=r"APP is one of: links, shop\."):
        submit.serve(request_, APPS)
    assert ran == []


def packed(content: bytes) -> tuple[io.BytesIO, str]:
    return io.BytesIO(gzip.compress(content)), hashlib.sha256(content).hexdigest()


def test_what_comes_is_there_under_its_name(tmp_path: Path) -> None:
    source, digest = packed(b"x" * 200_000)
    submit.receive(source, tmp_path / "a.tar.gz", digest)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    assert (tmp_path / "a.tar.gz").read_bytes() == source.getvalue()
    assert (tmp_path / "a.tar.gz").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(b"other", mtime=0), "not the one that was announced"),
        (b"no archive", "can't be read"),
        (gzip.compress(b"cut off in the middle", mtime=0)[:-9], "can't be read"),
        (b"", "not the one"),
        (b"x" * 2000, "more than"),
        (gzip.compress(bytes(2000), mtime=0), "more than"),
    ],
)
def test_what_is_not_what_was_announced_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, why: str
) -> None:
    monkeypatch.setattr(submit, "MOST", 1000)
    with pytest.raises(RefusedError, match=why):
        submit.receive(io.BytesIO(content), tmp_path / "a.tar.gz", DIGEST)
    assert [*tmp_path.iterdir()] == []


def test_what_comes_too_slowly_is_given_up(tmp_path: Path) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            submit._too_late()
            return super().read(size)

    with pytest.raises(RefusedError, match="did not come within"):
        submit.receive(Slow(), tmp_path / "a.tar.gz", DIGEST)
    assert [*tmp_path.iterdir()] == []
