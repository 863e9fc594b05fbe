"""Checks of an app's folder that need no server."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from validation.mistakes import wrong
from validation.values import ExistingFolder

MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
SERVED_BY = ("gunicorn", "uvicorn-worker")


def _project(folder: Path) -> Path:
    for file, mend in (
        ("pyproject.toml", "point `source` at the folder that has it"),
        ("uv.lock", f"run `uv lock` in {folder}"),
    ):
        if not (folder / file).is_file():
            raise wrong(f"a folder with {file}", mend, found=f"{folder} without")
    if missing := [name for name in SERVED_BY if name not in _locked(folder / "uv.lock")]:
        raise wrong(
            f"{' and '.join(missing)} in uv.lock, to serve the app with",
            f"run `uv add {' '.join(missing)}` in {folder}",
            found="a lock file without",
        )
    return folder


def _locked(lock: Path) -> set[str]:
    try:
        return {package["name"] for package in tomllib.loads(lock.read_text())["package"]}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise wrong(
            "a uv.lock that uv can read", f"run `uv lock` in {lock.parent}", found=str(lock)
        ) from None


def _module(value: str, info: ValidationInfo) -> str:
    if not MODULE.fullmatch(value):
        raise wrong('"package.module:attribute"', 'write it as in "links.main:app"')
    source = info.data.get("source")
    path = Path(*value.partition(":")[0].split("."))
    if source and not any((source / place).is_file() for place in _places(path)):
        raise wrong(f"{path}.py in {source}", "correct `module`, or `source`")
    return value


def _places(path: Path) -> tuple[Path, Path]:
    return path.with_suffix(".py"), path / "__init__.py"


Project = Annotated[ExistingFolder, AfterValidator(_project)]
Module = Annotated[str, AfterValidator(_module)]
