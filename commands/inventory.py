"""Which server and which app a command is about: the deploy's inventory says it."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app_settings import App

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

    What is wrong in it it tells by itself.
    """
    hosts: list[tuple[str, dict[str, Any]]] = runpy.run_path(str(inventory_path(path)))["hosts"]
    return hosts


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
