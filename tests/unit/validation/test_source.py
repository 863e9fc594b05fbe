"""The app's folder: what it lacks is told before a server is contacted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.inventories import LOCK, a_vm, an_app, read, told

Refusal = Callable[..., str]
SOURCE = "apps[0].source"


def test_an_absent_folder_is_refused(refusal: Refusal, folder: Path) -> None:
    absent = folder / "absent"
    mend = f"create {absent}, or correct the path"
    message = told(SOURCE, "a folder that exists", str(absent), mend)
    assert refusal(a_vm(an_app(source="absent"))) == message


@pytest.mark.parametrize(
    ("file", "mend"),
    [
        ("pyproject.toml", "point `source` at the folder that has it"),
        ("uv.lock", "run `uv lock` in {app}"),
    ],
)
def test_a_folder_that_is_no_project_is_refused(
    refusal: Refusal, folder: Path, file: str, mend: str
) -> None:
    app = folder / "app"
    (app / file).unlink()
    message = told(SOURCE, f"a folder with {file}", f"{app} without", mend.format(app=app))
    assert refusal(a_vm()) == message


@pytest.mark.parametrize(
    "lock", [b"not toml", b"\xff\xfe", b"", b"package = 3", b'package = "x"', b"[[package]]\n"]
)
def test_a_lock_that_cannot_be_read_is_refused(refusal: Refusal, folder: Path, lock: bytes) -> None:
    app = folder / "app"
    (app / "uv.lock").write_bytes(lock)
    expected, mend = "a uv.lock that uv can read", f"run `uv lock` in {app}"
    assert refusal(a_vm()) == told(SOURCE, expected, str(app / "uv.lock"), mend)


@pytest.mark.parametrize(
    ("present", "expected", "add"),
    [
        ("links", "gunicorn and uvicorn-worker", "gunicorn uvicorn-worker"),
        ("gunicorn", "uvicorn-worker", "uvicorn-worker"),
        ("uvicorn-worker", "gunicorn", "gunicorn"),
    ],
)
def test_a_lock_without_a_server_is_refused(
    refusal: Refusal, folder: Path, present: str, expected: str, add: str
) -> None:
    app = folder / "app"
    (app / "uv.lock").write_text(f'[[package]]\nname = "{present}"\n')
    message = told(
        SOURCE,
        f"{expected} in uv.lock, to serve the app with",
        "a lock file without",
        f"run `uv add {add}` in {app}",
    )
    assert refusal(a_vm()) == message


@pytest.mark.parametrize(
    "module", ["links.main", "links/main.py:app", "links.main:", ":app", "links-2:app", "a:b; id"]
)
def test_a_module_in_another_form_is_refused(refusal: Refusal, module: str) -> None:
    message = told(
        "apps[0].module",
        '"package.module:attribute"',
        f'"{module}"',
        'write it as in "links.main:app", or "links.main:create_app()" if it is made by a call',
    )
    assert refusal(a_vm(an_app(module=module))) == message


def test_a_module_without_a_file_is_refused(refusal: Refusal, folder: Path) -> None:
    message = told(
        "apps[0].module",
        f"links/web.py in {folder / 'app'}",
        '"links.web:app"',
        "correct `module`, or `source`",
    )
    assert refusal(a_vm(an_app(module="links.web:app"))) == message


@pytest.mark.parametrize(
    ("file", "module"),
    [("main.py", "main:app"), ("web/__init__.py", "web:app"), ("a/b/c.py", "a.b.c:make")],
)
def test_a_module_is_found_in_the_source(folder: Path, file: str, module: str) -> None:
    path = folder / "app" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert read(folder, a_vm(an_app(module=module))).apps[0].module == module


def test_two_kinds_of_server_in_the_lock_are_enough(folder: Path) -> None:
    (folder / "app/uv.lock").write_text(LOCK + '[[package]]\nname = "fastapi"\n')
    assert read(folder, a_vm()).apps[0].source == folder / "app"
