"""The inventory of a command, and the server and app that it selects."""

from __future__ import annotations

import os
import runpy
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from settings.exit_codes import REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from settings.app import App

PROJECT = Path(__file__).resolve().parent.parent


def inventory_path(path: str = "") -> Path:
    """Return the inventory's file: `path`, or ONEBOX_INVENTORY, or inventory.py.

    It is relative to the working directory, or else to the project's folder.
    """
    name = path or os.environ.get("ONEBOX_INVENTORY") or "inventory.py"
    file = Path(name) if Path(name).is_file() else PROJECT / name
    if not file.is_file():
        raise Exit(f"There is no inventory {name}. Set ONEBOX_INVENTORY to yours.", REFUSED)
    return file.resolve()


def servers(path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return the inventory's servers as pyinfra reads them: address and data.

    The inventory itself reports mistakes in its settings.
    """
    return read(inventory_path(path))


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the servers of an inventory. Raises Exit if it fails to run or defines no hosts."""
    try:
        found = runpy.run_path(str(path))
    except Exception as error:  # noqa: BLE001 - it is the user's code
        raise Exit(f"{_location(error, path)}: {_message(error)}", REFUSED) from None
    if "hosts" not in found:
        raise Exit(f"{path} has no `hosts`. Add `hosts = servers(...)`.", REFUSED)
    hosts: list[tuple[str, dict[str, Any]]] = found["hosts"]
    return hosts


def _message(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}"


def _location(error: Exception, path: Path) -> str:
    """Return the file and line that raised an error."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def server(address: str = "") -> tuple[str, dict[str, Any]]:
    """Return the server with this address, or the inventory's only one."""
    found = servers()
    names = [name for name, _ in found]
    return found[_index(names, address, "--on", "server", "the inventory")]


def app(apps: Sequence[App], name: str = "") -> App:
    """Return the app with this name, or the server's only one."""
    return apps[_index([app.name for app in apps], name, "--app", "app", "the server")]


def _index(names: list[str], name: str, option: str, kind: str, where: str) -> int:
    if name in names:
        return names.index(name)
    if not name and len(names) == 1:
        return 0
    problem = f"{where} has no {kind} {name!r}" if name else f"{where} has several {kind}s"
    choices = "\n".join(f"  {option} {each}" for each in names)
    raise Exit(f"{problem[0].upper()}{problem[1:]}. Choose one:\n{choices}", REFUSED)
