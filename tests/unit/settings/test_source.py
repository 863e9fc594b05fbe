"""The app's folder: what it lacks is reported before a server is contacted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from settings.contents import NOWHERE, OUTSIDE, PRIVATE
from tests.unit.inventories import LOCK, a_vm, an_app, read, report

Refusal = Callable[..., str]
SOURCE = "apps[0].source"


def test_an_absent_folder_is_refused(refusal: Refusal, folder: Path) -> None:
    absent = folder / "absent"
    fix = f"create {absent}, or correct the path"
    message = report(SOURCE, "a folder that exists", str(absent), fix)
    assert refusal(a_vm(an_app(source="absent"))) == message


def test_a_dependency_that_was_not_locked_is_reported(refusal: Refusal, folder: Path) -> None:
    app = folder / "app"
    text = '[project]\nname = "links"\ndependencies = ["httpx>=0.28", "Uvicorn_Worker"]\n'
    (app / "pyproject.toml").write_text(text)
    expected = "a uv.lock with all dependencies of pyproject.toml"
    fix = f"run `uv lock` in {app}"
    assert refusal(a_vm()) == report(SOURCE, expected, "one without httpx", fix)


@pytest.mark.parametrize(
    ("file", "fix"),
    [
        ("pyproject.toml", "point `source` at the folder that has it"),
        ("uv.lock", "run `uv lock` in {app}"),
    ],
)
def test_a_folder_that_is_no_project_is_refused(
    refusal: Refusal, folder: Path, file: str, fix: str
) -> None:
    app = folder / "app"
    (app / file).unlink()
    message = report(SOURCE, f"a folder with {file}", f"{app} without it", fix.format(app=app))
    assert refusal(a_vm()) == message


@pytest.mark.parametrize(
    "lock", [b"not toml", b"\xff\xfe", b"", b"package = 3", b'package = "x"', b"[[package]]\n"]
)
def test_a_lock_that_cannot_be_read_is_refused(refusal: Refusal, folder: Path, lock: bytes) -> None:
    app = folder / "app"
    (app / "uv.lock").write_bytes(lock)
    expected, fix = "a uv.lock that uv can read", f"run `uv lock` in {app}"
    assert refusal(a_vm()) == report(SOURCE, expected, str(app / "uv.lock"), fix)


@pytest.mark.parametrize("kind", ["editable", "directory"])
def test_a_package_in_another_folder_is_refused(refusal: Refusal, folder: Path, kind: str) -> None:
    lock = folder / "app/uv.lock"
    ours = '[[package]]\nname = "links"\nsource = { editable = "." }\n'
    lock.write_text(f"{LOCK}\n{ours}")
    assert read(folder, a_vm()).apps[0].name == "links"
    lock.write_text(f'{LOCK}\n[[package]]\nname = "shared"\nsource = {{ {kind} = "../shared" }}\n')
    message = report(
        SOURCE,
        "packages from an index or from git in uv.lock",
        "shared from a folder",
        "publish shared, or move its code into the app",
    )
    assert refusal(a_vm()) == message


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
    message = report(
        SOURCE,
        f"{expected} in uv.lock, to serve the app",
        "a file without",
        f"run `uv add {add}` in {app}",
    )
    assert refusal(a_vm()) == message


def test_files_that_may_not_be_sent_are_refused(refusal: Refusal, folder: Path) -> None:
    app = folder / "app"
    (app / "a.txt").symlink_to("/etc/passwd")
    (app / "b.txt").symlink_to("b.txt")
    (app / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    message = report(
        SOURCE,
        f"a folder whose files can all be packed: {app}",
        "a.txt is a link out of the folder: /etc/passwd; b.txt is a circular link: b.txt;"
        " key.pem contains a private key",
        f"{OUTSIDE}; {NOWHERE}; {PRIVATE}",
    )
    assert refusal(a_vm()) == message


def test_a_checkout_that_git_can_not_list_is_refused(refusal: Refusal, folder: Path) -> None:
    (folder / "app/.git").mkdir()
    assert "expected: a folder whose files git can list\n" in refusal(a_vm())


@pytest.mark.parametrize(
    "module", ["links.main", "links/main.py:app", "links.main:", ":app", "links-2:app", "a:b; id"]
)
def test_a_module_in_another_form_is_refused(refusal: Refusal, module: str) -> None:
    message = report(
        "apps[0].module",
        '"package.module:attribute"',
        f'"{module}"',
        'write it like "links.main:app", or "links.main:create_app()" for a factory',
    )
    assert refusal(a_vm(an_app(module=module))) == message


def test_a_module_without_a_file_is_refused(refusal: Refusal, folder: Path) -> None:
    message = report(
        "apps[0].module",
        f"links/web.py in {folder / 'app'}",
        '"links.web:app"',
        "correct `module`, or `source`",
    )
    assert refusal(a_vm(an_app(module="links.web:app"))) == message


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("main.py", "main:app"),
        ("web/__init__.py", "web:app"),
        ("src/web.py", "web:app"),
        ("a/b/c.py", "a.b.c:make"),
    ],
)
def test_a_module_is_found_in_the_source(folder: Path, file: str, module: str) -> None:
    path = folder / "app" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert read(folder, a_vm(an_app(module=module))).apps[0].module == module


def test_two_kinds_of_server_in_the_lock_are_enough(folder: Path) -> None:
    (folder / "app/uv.lock").write_text(LOCK + '[[package]]\nname = "fastapi"\n')
    assert read(folder, a_vm()).apps[0].source == folder / "app"


@pytest.fixture
def pinned(folder: Path) -> Path:
    """Return a requirements.txt that takes the place of the lock."""
    for file in ("pyproject.toml", "uv.lock"):
        (folder / "app" / file).unlink()
    path = folder / "app/requirements.txt"
    path.write_text("gunicorn==27.0.1\nuvicorn-worker==0.4.0\n")
    return path


@pytest.mark.parametrize(
    "line",
    [
        "Fast.API==1.2",
        "fastapi[all]==1.2 ; python_version < '3.13'  # why",
        "fastapi==1.2 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via links",
        f"corp @ git+ssh://git@git.example.com/corp.git@{'0a' * 20}",
        "",
    ],
)
def test_requirements_that_are_pinned_will_do(folder: Path, pinned: Path, line: str) -> None:
    pinned.write_text(f"{pinned.read_text()}{line}\n")
    assert read(folder, a_vm()).apps[0].source == pinned.parent


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("fastapi", "fastapi"),
        ("fastapi>=1.2", "fastapi>=1.2"),
        ("fastapi==1.*", "fastapi==1.*"),
        ("fastapi==1.2 more", "fastapi==1.2 more"),
        ("-r base.txt", "-r base.txt"),
        ("-e .", "-e ."),
        ("--extra-index-url https://me:tok3n@example.com/", "--extra-index-url"),
        ("corp @ git+https://example.com/corp.git@main", "corp"),
    ],
)
def test_requirements_that_are_not_pinned_are_refused(
    refusal: Refusal, pinned: Path, line: str, found: str
) -> None:
    pinned.write_text(f"{pinned.read_text()}{line}\n")
    message = report(
        SOURCE,
        'only "name==version" in each line of requirements.txt',
        f'"{found}"',
        "list your requirements in requirements.in and run `uv pip compile --generate-hashes"
        f" requirements.in -o requirements.txt` in {pinned.parent}",
    )
    assert refusal(a_vm()) == message


def test_requirements_without_a_server_are_refused(refusal: Refusal, pinned: Path) -> None:
    pinned.write_text("gunicorn==27.0.1\n")
    message = report(
        SOURCE,
        "uvicorn-worker in requirements.txt, to serve the app",
        "a file without",
        "add uvicorn-worker to requirements.in and run `uv pip compile --generate-hashes"
        f" requirements.in -o requirements.txt` in {pinned.parent}",
    )
    assert refusal(a_vm()) == message


def test_a_lock_wins_over_requirements(folder: Path) -> None:
    (folder / "app/requirements.txt").write_text("fastapi\n")
    assert read(folder, a_vm()).apps[0].source == folder / "app"


@pytest.mark.parametrize("call", ["make()", "make('a', 2)", 'make(["x"], debug=True)'])
def test_an_app_may_be_made_by_a_call_with_plain_values(folder: Path, call: str) -> None:
    assert read(folder, a_vm(an_app(module=f"links.main:{call}"))).apps[0].module[11:] == call


@pytest.mark.parametrize("call", ["make(open('x'))", "a.b", "make().app", "make(a)", "1", "a; b"])
def test_what_gunicorn_can_not_call_is_refused(refusal: Refusal, call: str) -> None:
    assert '"package.module:attribute"' in refusal(a_vm(an_app(module=f"links.main:{call}")))


@pytest.mark.parametrize("module", ["gunicorn.app:app", "uvicorn_worker:app", "uvicorn:app"])
def test_a_module_may_be_in_a_package(folder: Path, module: str) -> None:
    assert read(folder, a_vm(an_app(module=module))).apps[0].module == module


def test_a_module_that_is_nowhere_is_refused(refusal: Refusal, folder: Path) -> None:
    message = report(
        "apps[0].module",
        f"linsk/main.py in {folder / 'app'}, or a package linsk in uv.lock",
        '"linsk.main:app"',
        "correct `module`, or `source`",
    )
    assert refusal(a_vm(an_app(module="linsk.main:app"))) == message
