"""Alembic's revisions, read without running them, and what may be done with them."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "onebox_compatible"


@dataclass(frozen=True)
class Revision:
    """One migration, and whether the release before it can live with what it leaves."""

    name: str
    parents: tuple[str, ...]
    compatible: bool


def read(folder: Path) -> dict[str, Revision] | None:
    """Return the revisions of a project, by name; None where it doesn't use Alembic."""
    ini = folder / "alembic.ini"
    if not ini.is_file():
        return None
    parser = configparser.ConfigParser({"here": str(folder)})
    parser.read(ini)
    location = folder / parser.get("alembic", "script_location", fallback="alembic")
    found = (_revision(path) for path in sorted((location / "versions").glob("*.py")))
    return {revision.name: revision for revision in found if revision}


def ancestors(revisions: Mapping[str, Revision], names: Iterable[str]) -> set[str]:
    """Return the named revisions that are known, and all that come before them."""
    found: set[str] = set()
    rest = [name for name in names if name in revisions]
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += [parent for parent in revisions[name].parents if parent in revisions]
    return found


def pending(revisions: Mapping[str, Revision], database: Iterable[str]) -> list[Revision]:
    """Return what the database lacks of these revisions; `database` are the heads it is at."""
    applied = ancestors(revisions, database)
    return [revision for name, revision in revisions.items() if name not in applied]


def unreadable(
    revisions: Mapping[str, Revision], database: Iterable[str], known: Mapping[str, Revision]
) -> list[str]:
    """Return what the database has that a release with these revisions can't live with.

    `known` are the revisions of all releases that are here; one that none of them has counts as
    not compatible.
    """
    heads = list(database)
    applied = ancestors(known, heads) | set(heads)
    ahead = sorted(applied - set(revisions))
    return [name for name in ahead if not (name in known and known[name].compatible)]


def _revision(path: Path) -> Revision | None:
    values = _constants(path)
    if not isinstance(values.get("revision"), str):
        return None
    down = values.get("down_revision") or ()
    parents = (down,) if isinstance(down, str) else tuple(down)
    return Revision(values["revision"], parents, compatible=values.get(MARK) is True)


def _constants(path: Path) -> dict[str, Any]:
    """Return a module's top-level names that are set to literals."""
    values = {}
    for node in ast.parse(path.read_text()).body:
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
