"""What is parsed of hostile text takes its share of memory and time, and no more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from onebox_release.core import revisions
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import bounded
from onebox_release.host.bounded import bounded as within
from onebox_release.install import packages, pins

DEEP = "x" + ".a" * 30_000 + " = 1\n"  # 3 GB, for Python 3.11


def test_what_is_parsed_comes_back() -> None:
    assert within("it", lambda: {"a": [1, None], "process": os.getpid()})["process"] != os.getpid()


def test_what_is_raised_is_raised_here() -> None:
    def refuse() -> None:
        raise RefusedError("no")

    with pytest.raises(RefusedError, match=r"^no$"):
        within("it", refuse)


@pytest.mark.parametrize(
    ("parse", "why"),
    [
        (lambda: bytes(2 << 30), "takes too much memory to read"),
        (lambda: os.kill(os.getpid(), 9), "takes too much memory to read"),
        (lambda: os._exit(7), "exit code 7"),
        (lambda: lambda: 1, "exit code 4"),  # what can't be handed over
    ],
)
def test_a_parser_that_ends_badly_ends_alone(parse: Callable[[], object], why: str) -> None:
    with pytest.raises(ReleaseError, match=f"^It .*{why}"):
        within("It", parse)


def test_a_parser_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def spin() -> None:
        while True:
            pass

    monkeypatch.setattr(bounded, "SECONDS", 1)
    with pytest.raises(ReleaseError, match="takes more than 1 s"):
        within("It", spin)


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock", "uv.toml"])
def test_a_key_of_many_parts_fills_no_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MEMORY", 400 << 20)
    files = {"pyproject.toml": b"[project]\nname = 'a'\n", "uv.lock": b"", name: DEEP.encode()}
    files["requirements.txt"] = b"a==1\n"
    with pytest.raises(ReleaseError, match=r"memory|no TOML"):
        packages.read(files, packages.Rules(build=False, by_key=True))


def test_a_line_of_blanks_takes_no_time() -> None:
    begin = time.monotonic()
    for line in ("a" + " " * 1_000_000 + "!", "a" + "[x]" + " " * 1_000_000 + "!"):
        with pytest.raises(ReleaseError, match='not "name==version"'):
            pins.pinned_lines(f"{line}\n")
    far = "a @ git+https://h/r" + ("@" + "0" * 40) * 50_000 + " x"
    with pytest.raises(ReleaseError, match='not "name==version"'):
        pins.pinned_lines(f"{far}\n")
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("file", ["alembic.ini", "pyproject.toml"])
def test_a_line_of_settings_holds_no_rollback_up(tmp_path: Path, file: str) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
    with (tmp_path / file).open("a") as settings:
        settings.write("[x]\na" + " " * 900_000 + "b\n")
    begin = time.monotonic()
    found = revisions.read(tmp_path, "alembic upgrade head")
    assert isinstance(found, revisions.Unknown)
    assert "a line of more than" in found.why
    assert time.monotonic() - begin < 10
