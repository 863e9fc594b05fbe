"""A folder with an app in it, and inventories that describe it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from settings import VM, servers

LOCK = '[[package]]\nname = "gunicorn"\n\n[[package]]\nname = "uvicorn-worker"\n'


def make_project(folder: Path) -> None:
    """Create a minimal app."""
    (folder / "links").mkdir(parents=True)
    (folder / "links/main.py").write_text("app = None\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    (folder / "uv.lock").write_text(LOCK)


def an_app(**changes: Any) -> dict[str, Any]:
    """Return an app's settings; a change to None removes a setting."""
    settings = {
        "name": "links",
        "source": "app",
        "module": "links.main:app",
        "domains": ["links.example.com"],
        **changes,
    }
    return {key: value for key, value in settings.items() if value is not None}


def a_vm(*apps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a server's settings."""
    return {"address": "203.0.113.10", "apps": list(apps) or [an_app()], **changes}


def read(folder: Path, vm: dict[str, Any]) -> VM:
    """Return the checked settings of an inventory in `folder`."""
    [(_, data)] = servers(vm, beside=str(folder / "inventory.py"))
    checked: VM = data["vm"]
    return checked


def report(path: str, expected: str, found: str, fix: str) -> str:
    """Return the message for one mistake."""
    return (
        "inventory.py has 1 mistake; no server was contacted.\n\n"
        f"{path}\n  expected: {expected}\n  found:    {found}\n  fix:      {fix}\n"
    )
