"""Which server and which app a command is about: the deploy's inventory says it."""

from __future__ import annotations

import os
import runpy
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from settings.app import App

PROJECT = Path(__file__).resolve().parent.parent
REFUSED = 4  # exit code of a command that was not begun


def inventory_path(path: str = "") -> Path:
    """Return where the inventory is: `path`, or ONEBOX_INVENTORY, or inventory.py.

    It is seen from here, or else from the project.
    """
    name = path or os.environ.get("ONEBOX_INVENTORY") or "inventory.py"
    file = Path(name) if Path(name).is_file() else PROJECT / name
    if not file.is_file():
        raise Exit(f"There is no inventory {name}. Set ONEBOX_INVENTORY to yours.", REFUSED)
    return file.resolve()


def servers(path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return the inventory's servers, as pyinfra reads them: address and data.

    What is wrong in its settings it tells by itself.
    """
    return read(inventory_path(path))


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the servers of an inventory. Raises Exit where it is no Python, or has none."""
    try:
        found = runpy.run_path(str(path))
    except Exception as error:  # noqa: BLE001 - a person wrote it
        raise Exit(f"{_place(error, path)}: {_worded(error)}", REFUSED) from None
    if "hosts" not in found:
        raise Exit(f"{path} has no `hosts`. Write it as in `hosts = servers(...)`.", REFUSED)
    hosts: list[tuple[str, dict[str, Any]]] = found["hosts"]
    return hosts


def _worded(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}"


def _place(error: Exception, path: Path) -> str:
    """Return the file and the line of it that an error came from."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def server(address: str = "") -> tuple[str, dict[str, Any]]:
    """Return the server of this address, or the inventory's only one."""
    found = servers()
    names = [name for name, _ in found]
    return found[_index(names, address, "--on", "server", "the inventory")]


def app(apps: Sequence[App], name: str = "") -> App:
    """Return the app of this name, or a server's only one."""
    return apps[_index([app.name for app in apps], name, "--app", "app", "the server")]


def _index(names: list[str], wanted: str, option: str, kind: str, where: str) -> int:
    if wanted in names:
        return names.index(wanted)
    if not wanted and len(names) == 1:
        return 0
    wrong = f"{where} has no {kind} {wanted!r}" if wanted else f"{where} has several {kind}s"
    listed = "\n".join(f"  {option} {name}" for name in names)
    raise Exit(f"{wrong[0].upper()}{wrong[1:]}. Say which:\n{listed}", REFUSED)
