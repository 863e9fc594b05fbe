"""Templates mirror the server's /: a template's path is its target's path.

In a path, NAME is the app's name, SLICE its slice, PROCESS or TIMER the name of one of those, and
VERSION PostgreSQL's major version.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from operations.files import File

FOLDER = Path(__file__).resolve().parent.parent / "templates"


def env_quote(value: str) -> str:
    """Quote a value for a file that systemd reads as EnvironmentFile=."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def unit_quote(value: str) -> str:
    """Quote an argument for a unit's ExecStart=, where % and $ are special."""
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
    """Return the text of a template, by its target's path without the leading slash.

    Raises jinja2.UndefinedError if a value is missing.
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
    """Return the file of a template."""
    text = render(path, **values)
    return File(f"/{target(path, **values)}", text, mode=mode, owner=owner, check=check)


def target(path: str, **values: Any) -> str:
    """Return the path of a template's file on the server."""
    if "NAME" in path:
        path = path.replace("NAME", values["app"].name)
    if "SLICE" in path:
        path = path.replace("SLICE.slice", values["app"].slice)
    if "PROCESS" in path:
        path = path.replace("PROCESS", values["process"].name)
    if "TIMER" in path:
        path = path.replace("TIMER", values["timer"].name)
    return path.replace("VERSION", values.get("version", "VERSION"))
