"""Templates mirror the server's /: a template's path is its target's path.

NAME, SLICE, PROCESS, TIMER and VERSION in a path stand for the app's name and its slice, one of its
processes or timers, and the major version of PostgreSQL.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from operations.files import File

FOLDER = Path(__file__).resolve().parent.parent / "templates"


def env_quote(value: str) -> str:
    """Quote a value for a file that systemd reads by EnvironmentFile=."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def unit_quote(value: str) -> str:
    """Quote an argument for a unit's ExecStart=, where % and $ mean something."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


_environment = Environment(
    loader=FileSystemLoader(FOLDER),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - configuration files, not HTML
)
_environment.filters.update(env_quote=env_quote, unit_quote=unit_quote)


def render(path: str, **values: Any) -> str:
    """Return the text of the template for the target `path`, given without the leading slash.

    Raises jinja2.UndefinedError where a template wants a value that it wasn't given.
    """
    return _environment.get_template(f"{path}.j2").render(**values)


def template(
    path: str,
    *,
    mode: str = "644",
    owner: str = "root:root",
    check: str | None = None,
    **values: Any,
) -> File:
    """Return the file that the template `path` makes."""
    text = render(path, **values)
    return File(f"/{target(path, **values)}", text, mode=mode, owner=owner, check=check)


def target(path: str, **values: Any) -> str:
    """Return the path on the server that a template stands for."""
    if "NAME" in path:
        path = path.replace("NAME", values["app"].name)
    if "SLICE" in path:
        path = path.replace("SLICE.slice", values["app"].slice)
    if "PROCESS" in path:
        path = path.replace("PROCESS", values["process"].name)
    if "TIMER" in path:
        path = path.replace("TIMER", values["timer"].name)
    return path.replace("VERSION", values.get("version", "VERSION"))
