"""Checks of an app's folder that need no server."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from settings.contents import ListingError, explained, refused
from settings.git import checkout
from settings.mistakes import wrong
from settings.values import ExistingFolder

LOCK, REQUIREMENTS = "uv.lock", "requirements.txt"
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
SERVED_BY = ("gunicorn", "uvicorn-worker")
PACKAGE = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\]\s*)?"
GIT = r"@\s*git\+(https|ssh)://\S+@[0-9a-f]{40}(#\S+)?"
PINNED = re.compile(rf"{PACKAGE}(===?\s*[\w.!+-]+|{GIT})\s*(;.*)?")
COMMENT_OR_HASH = re.compile(r"(^|\s)#.*|\s--hash=\S+")
COMPILE = "uv pip compile --generate-hashes requirements.in -o requirements.txt"


def _project(folder: Path) -> Path:
    if (folder / REQUIREMENTS).is_file() and not (folder / LOCK).is_file():
        add = f"add {{}} to requirements.in and run `{COMPILE}` in {folder}"
    else:
        add = f"run `uv add {{}}` in {folder}"
        for file, mend in (
            ("pyproject.toml", "point `source` at the folder that has it"),
            (LOCK, f"run `uv lock` in {folder}"),
        ):
            if not (folder / file).is_file():
                raise wrong(f"a folder with {file}", mend, found=f"{folder} without")
    locked, file = packages(folder)
    if missing := [name for name in SERVED_BY if name not in locked]:
        raise wrong(
            f"{' and '.join(missing)} in {file}, to serve the app with",
            add.format(" ".join(missing)),
            found="a file without",
        )
    if file == LOCK and (forgotten := sorted(_wanted(folder / "pyproject.toml") - locked)):
        raise wrong(
            f"a {LOCK} with all that pyproject.toml names", f"run `uv lock` in {folder}",
            found=f"one without {' and '.join(forgotten)}",
        )  # fmt: skip
    _packable(folder)
    return folder


def _packable(folder: Path) -> None:
    try:
        found = refused(folder)
    except ListingError as error:
        raise wrong(
            "a folder whose files git can list", f"run `git status` in {folder}", found=str(error)
        ) from None
    if found:
        what, mend = explained(found)
        raise wrong(f"a folder of which every file may be sent: {folder}", mend, found=what)


def packages(folder: Path) -> tuple[set[str], str]:
    """Return the names of the packages that an app brings along, and the file that pins them."""
    if (folder / LOCK).is_file():
        return _locked(folder / LOCK), LOCK
    return _pinned(folder / REQUIREMENTS), REQUIREMENTS


def _locked(lock: Path) -> set[str]:
    try:
        locked = {
            p["name"]: p.get("source", {}) for p in tomllib.loads(lock.read_text())["package"]
        }
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise wrong(
            "a uv.lock that uv can read", f"run `uv lock` in {lock.parent}", found=str(lock)
        ) from None
    for name, source in locked.items():
        # Its code changes without the lock, and environments are shared by releases of one lock.
        if {source.get("editable", "."), source.get("directory", ".")} != {"."}:
            raise wrong(
                "packages from an index or from git in uv.lock",
                f"publish {name}, or move its code into that of the app",
                found=f"{name} in a folder of its own",
            )
    return set(locked)


def _wanted(project: Path) -> set[str]:
    """Return the names of a project's dependencies; what can't be read is uv's to tell."""
    try:
        dependencies = tomllib.loads(project.read_text())["project"]["dependencies"]
        found = [re.match(PACKAGE, dependency) for dependency in dependencies]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return set()
    return {_normalized(match["name"]) for match in found if match}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pinned(file: Path) -> set[str]:
    """Return the names in a requirements.txt, in which every package must have one version."""
    names = set()
    for line in file.read_text(errors="replace").replace("\\\n", " ").splitlines():
        wanted = COMMENT_OR_HASH.sub("", line).strip()
        match = PINNED.fullmatch(wanted)
        if wanted and not match:
            raise wrong(
                f'"name==version" in each line of {file.name}, and nothing else',
                f"name what you need in requirements.in and run `{COMPILE}` in {file.parent}",
                found=f'"{wanted.split(" ")[0] if "://" in wanted else wanted}"',
            )
        if match:
            names.add(_normalized(match["name"]))
    return names


def _module(value: str, info: ValidationInfo) -> str:
    module, _, attribute = value.partition(":")
    if not MODULE.fullmatch(module) or not _is_attribute(attribute):
        raise wrong(
            '"package.module:attribute"',
            'write it as in "links.main:app", or "links.main:create_app()" if it is made by a call',
        )
    source = info.data.get("source")
    if source:
        _find(source, module)
    return value


def _is_attribute(text: str) -> bool:
    """Tell whether Gunicorn takes it: a name, or a call with plain values."""
    try:
        expression = ast.parse(text, mode="eval").body
        if isinstance(expression, ast.Call):
            for value in [*expression.args, *(keyword.value for keyword in expression.keywords)]:
                ast.literal_eval(value)
            expression = expression.func
    except (SyntaxError, ValueError):
        return False
    return isinstance(expression, ast.Name)


def _find(source: Path, module: str) -> None:
    """Raise unless the module is in the source, or can be in one of the packages."""
    path = Path(*module.split("."))
    roots = [root for root in (source, source / "src") if root.is_dir()]
    if any((root / place).is_file() for root in roots for place in _places(path)):
        return
    top = path.parts[0]
    name = top.lower().replace("_", "-")
    ours = any((root / top).is_dir() or (root / f"{top}.py").is_file() for root in roots)
    locked, file = packages(source)
    theirs = any(f"{package}-".startswith(f"{name}-") for package in locked)
    if ours or not theirs:
        also = "" if ours else f", or a package {top} in {file}"
        raise wrong(f"{path}.py in {source}{also}", "correct `module`, or `source`")


def _places(path: Path) -> tuple[Path, Path]:
    return path.with_suffix(".py"), path / "__init__.py"


Project = Annotated[ExistingFolder, BeforeValidator(checkout), AfterValidator(_project)]
Module = Annotated[str, AfterValidator(_module)]
