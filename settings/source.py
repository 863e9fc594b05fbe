"""Validation of an app's folder, without a server."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from settings.contents import ListingError, refused, summary
from settings.git import checkout
from settings.mistakes import invalid
from settings.values import ExistingFolder

LOCK, REQUIREMENTS = "uv.lock", "requirements.txt"
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
REQUIRED = ("gunicorn", "uvicorn-worker")
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
        for file, fix in (
            ("pyproject.toml", "point `source` at the folder that has it"),
            (LOCK, f"run `uv lock` in {folder}"),
        ):
            if not (folder / file).is_file():
                raise invalid(f"a folder with {file}", fix, found=f"{folder} without it")
    locked, file = packages(folder)
    if missing := [name for name in REQUIRED if name not in locked]:
        raise invalid(
            f"{' and '.join(missing)} in {file}, to serve the app",
            add.format(" ".join(missing)),
            found="a file without",
        )
    if file == LOCK and (unlocked := sorted(_dependencies(folder / "pyproject.toml") - locked)):
        raise invalid(
            f"a {LOCK} with all dependencies of pyproject.toml", f"run `uv lock` in {folder}",
            found=f"one without {' and '.join(unlocked)}",
        )  # fmt: skip
    _check_packable(folder)
    return folder


def _check_packable(folder: Path) -> None:
    try:
        found = refused(folder)
    except ListingError as error:
        raise invalid(
            "a folder whose files git can list", f"run `git status` in {folder}", found=str(error)
        ) from None
    if found:
        what, fix = summary(found)
        raise invalid(f"a folder whose files can all be packed: {folder}", fix, found=what)


def packages(folder: Path) -> tuple[set[str], str]:
    """Return the names of an app's packages, and of the file that pins them."""
    if (folder / LOCK).is_file():
        return _locked(folder / LOCK), LOCK
    return _pinned(folder / REQUIREMENTS), REQUIREMENTS


def _locked(lock: Path) -> set[str]:
    try:
        locked = {
            p["name"]: p.get("source", {}) for p in tomllib.loads(lock.read_text())["package"]
        }
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise invalid(
            "a uv.lock that uv can read", f"run `uv lock` in {lock.parent}", found=str(lock)
        ) from None
    for name, source in locked.items():
        # Releases with the same lock share an environment, but this code changes without the lock.
        if {source.get("editable", "."), source.get("directory", ".")} != {"."}:
            raise invalid(
                "packages from an index or from git in uv.lock",
                f"publish {name}, or move its code into the app",
                found=f"{name} from a folder",
            )
    return set(locked)


def _dependencies(project: Path) -> set[str]:
    """Return the names of a project's dependencies; uv reports what can't be read."""
    try:
        dependencies = tomllib.loads(project.read_text())["project"]["dependencies"]
        found = [re.match(PACKAGE, dependency) for dependency in dependencies]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return set()
    return {_normalized(match["name"]) for match in found if match}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pinned(file: Path) -> set[str]:
    """Return the names in a requirements.txt, which must pin every package."""
    names = set()
    for line in file.read_text(errors="replace").replace("\\\n", " ").splitlines():
        requirement = COMMENT_OR_HASH.sub("", line).strip()
        match = PINNED.fullmatch(requirement)
        if requirement and not match:
            raise invalid(
                f'only "name==version" in each line of {file.name}',
                f"list your requirements in requirements.in and run `{COMPILE}` in {file.parent}",
                found=f'"{requirement.split(" ")[0] if "://" in requirement else requirement}"',
            )
        if match:
            names.add(_normalized(match["name"]))
    return names


def _module(value: str, info: ValidationInfo) -> str:
    module, _, attribute = value.partition(":")
    if not MODULE.fullmatch(module) or not _is_attribute(attribute):
        raise invalid(
            '"package.module:attribute"',
            'write it like "links.main:app", or "links.main:create_app()" for a factory',
        )
    source = info.data.get("source")
    if source:
        _check_exists(source, module)
    return value


def _is_attribute(text: str) -> bool:
    """Return whether Gunicorn accepts it: a name, or a call with literal arguments."""
    try:
        expression = ast.parse(text, mode="eval").body
        if isinstance(expression, ast.Call):
            for value in [*expression.args, *(keyword.value for keyword in expression.keywords)]:
                ast.literal_eval(value)
            expression = expression.func
    except (SyntaxError, ValueError):
        return False
    return isinstance(expression, ast.Name)


def _check_exists(source: Path, module: str) -> None:
    """Raise unless the module is in the source, or may be in one of the packages."""
    path = Path(*module.split("."))
    roots = [root for root in (source, source / "src") if root.is_dir()]
    if any((root / file).is_file() for root in roots for file in _files(path)):
        return
    top = path.parts[0]
    name = top.lower().replace("_", "-")
    in_source = any((root / top).is_dir() or (root / f"{top}.py").is_file() for root in roots)
    locked, file = packages(source)
    in_packages = any(f"{package}-".startswith(f"{name}-") for package in locked)
    if in_source or not in_packages:
        also = "" if in_source else f", or a package {top} in {file}"
        raise invalid(f"{path}.py in {source}{also}", "correct `module`, or `source`")


def _files(path: Path) -> tuple[Path, Path]:
    return path.with_suffix(".py"), path / "__init__.py"


Project = Annotated[ExistingFolder, BeforeValidator(checkout), AfterValidator(_project)]
Module = Annotated[str, AfterValidator(_module)]
