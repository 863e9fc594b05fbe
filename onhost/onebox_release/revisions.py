"""Alembic's revisions, read without running them, and which release can run on which."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ReleaseError

MARK = "onebox_compatible"


@dataclass(frozen=True)
class Revision:
    """One migration, and whether the release before it can live with what it leaves."""

    name: str
    parents: tuple[str, ...]
    compatible: bool


Revisions = Mapping[str, Revision]


def read(folder: Path) -> dict[str, Revision] | None:
    """Return the revisions of a project, by name; None where it has none that can be found.

    Raises ReleaseError that names a file which is not Python.
    """
    parser = configparser.ConfigParser({"here": str(folder)})
    try:
        parser.read(folder / "alembic.ini")
        location = parser.get("alembic", "script_location", fallback=None)
    except configparser.Error as error:
        raise ReleaseError(f"alembic.ini can't be read: {error}") from error
    versions = folder / (location or "") / "versions"
    if location is None or not versions.is_dir():
        return None
    found = (_revision(path) for path in sorted(versions.glob("*.py")))
    return {revision.name: revision for revision in found if revision}


def ancestors(revisions: Revisions, names: Iterable[str]) -> set[str]:
    """Return the named revisions that are known, and all that come before them."""
    found: set[str] = set()
    rest = [name for name in names if name in revisions]
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += [parent for parent in revisions[name].parents if parent in revisions]
    return found


def pending(revisions: Revisions, heads: Iterable[str]) -> list[Revision]:
    """Return what a database at these heads lacks of a release's revisions."""
    applied = ancestors(revisions, heads)
    return [revision for name, revision in revisions.items() if name not in applied]


def in_the_way(release: Revisions, successor: Revisions, applied: Iterable[str]) -> list[str]:
    """Return what a database has that a release can't be said to run on.

    A mark speaks of the release right before the one that brought the revision. So only what its
    `successor` brought, and marked, does not stand in a release's way.
    """
    ahead = sorted(set(applied) - set(release))
    return [name for name in ahead if not (name in successor and successor[name].compatible)]


def _revision(path: Path) -> Revision | None:
    values = _constants(path)
    if not isinstance(values.get("revision"), str):
        return None
    parents = (*_names(values.get("down_revision")), *_names(values.get("depends_on")))
    return Revision(values["revision"], parents, compatible=values.get(MARK) is True)


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _constants(path: Path) -> dict[str, Any]:
    """Return a module's top-level names that are set to literals."""
    try:
        statements = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        raise ReleaseError(f"The revision {path.name} is not Python: {error}") from error
    values = {}
    for node in statements:
        if isinstance(node, ast.Assign):
            target: ast.expr = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        else:
            continue
        with suppress(ValueError):
            if isinstance(target, ast.Name) and node.value:
                values[target.id] = ast.literal_eval(node.value)
    return values
