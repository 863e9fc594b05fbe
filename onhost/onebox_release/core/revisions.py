"""Alembic's revisions, read without running them, and which releases are compatible.

They only decide compatibility: `migrate` runs regardless. A project that cannot be read is Unknown,
never "no revisions".
"""

from __future__ import annotations

import ast
import configparser
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from onebox_release.errors import ReleaseError
from onebox_release.host.bounded import bounded
from onebox_release.report import plain

MARK = "onebox_compatible"
ALEMBIC = (["alembic"], ["python", "-m", "alembic"], ["python3", "-m", "alembic"])
CONFIG = ("-c", "--config")
HERE = "%(here)s"
VERSION_TABLE = b"version_table"  # version_table_schema, too
# Options that move revisions or the version table.
MOVES = ("version_locations", "version_table", "version_table_schema")
ADDS = ("recursive_version_locations", "sourceless")
# Limits for root's parser: parsing Python takes 100 bytes of memory for each byte of a file, so 100
# MB, and 10 s for a whole repository. The largest of Apache Airflow's 200 revisions has 60 kB.
LARGEST, MOST, MOST_BYTES = 1 << 20, 5000, 16 << 20
LONGEST = 8192  # characters of a line of settings
OFF = ("", "false", "0", "no", "off")


@dataclass(frozen=True)
class Revision:
    """A revision, and whether the previous release can run on its schema."""

    name: str
    parents: tuple[str, ...]
    compatible: bool


@dataclass(frozen=True)
class Unknown:
    """A project whose revisions cannot be read without running them."""

    why: str


Revisions = Mapping[str, Revision]
Read: TypeAlias = dict[str, Revision] | Unknown


class _UnknownError(Exception):
    """Raised with the reason for Unknown."""


def read(folder: Path, command: str | None) -> Read:
    """Return the revisions that `command` applies, by name, or Unknown.

    None is the command of an app that an older onebox set up, and counts as Alembic's. Raises
    ReleaseError, naming the file, if a revision is not Python.
    """
    return bounded("The Alembic configuration or a revision", lambda: _read(folder, command))


def _read(folder: Path, command: str | None) -> Read:
    try:
        return _read_versions(_versions(folder, _configuration(command)))
    except _UnknownError as error:
        return Unknown(str(error))


def ancestors(revisions: Revisions, names: Iterable[str]) -> set[str]:
    """Return the known ones of the named revisions, and all that come before them."""
    found: set[str] = set()
    rest = [name for name in names if name in revisions]
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += [parent for parent in revisions[name].parents if parent in revisions]
    return found


def pending(revisions: Revisions, heads: Iterable[str]) -> list[Revision]:
    """Return a release's revisions that a database at these heads lacks."""
    applied = ancestors(revisions, heads)
    return [revision for name, revision in revisions.items() if name not in applied]


def incompatible(release: Revisions, successor: Revisions, applied: Iterable[str]) -> list[str]:
    """Return the applied revisions that a release is not known to be compatible with.

    A revision's mark covers only the release right before the one that added it. So only marked
    revisions that the release's `successor` added are compatible.
    """
    ahead = sorted(set(applied) - set(release))
    return [name for name in ahead if not (name in successor and successor[name].compatible)]


def _read_versions(versions: Path) -> dict[str, Revision]:
    found: dict[str, Revision] = {}
    paths = sorted(versions.glob("*.py"))
    if len(paths) > MOST or sum(path.stat().st_size for path in paths) > MOST_BYTES:
        raise _UnknownError(f"there are more than {MOST} revisions, or {MOST_BYTES >> 20} MiB")
    for path in paths:
        if path.name.startswith(("__init__", ".#")):  # Alembic ignores them
            continue
        revision = _revision(path)
        if revision.name in found:
            raise _UnknownError(f"two files have the revision {plain(revision.name, 80)}")
        found[revision.name] = revision
    for revision in found.values():
        if missing := set(revision.parents) - found.keys():
            raise _UnknownError(
                f"the revision {plain(revision.name, 80)} follows or depends on"
                f" {plain(min(missing), 80)}, which is not a revision of this release"
            )
    return found


def _configuration(command: str | None) -> str:
    """Return the path of Alembic's configuration if a command is only `alembic upgrade`."""
    if command is None:
        return "alembic.ini"
    reason = f"`migrate` is {command!r}, not `alembic upgrade head`"
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise _UnknownError(reason) from error
    start = next((s for s in ALEMBIC if words[: len(s)] == s), None)
    rest = words[len(start) :] if start else []
    file = "alembic.ini"
    if len(rest) > 1 and rest[0] in CONFIG:
        file, rest = rest[1], rest[2:]
    if start is None or rest not in (["upgrade", "head"], ["upgrade", "heads"]):
        raise _UnknownError(reason)
    if set(command) & set("$`*?[]{}~;&|<>()\n"):  # a shell runs it
        raise _UnknownError(reason)
    return file


def _versions(folder: Path, configuration: str) -> Path:
    """Return the folder of revisions. Raises _UnknownError if there may be others."""
    ini = folder / _inside(configuration)
    if not ini.is_file():
        raise _UnknownError(f"there is no {plain(configuration, 80)}")
    if _has_alembic(folder / "pyproject.toml"):
        raise _UnknownError("pyproject.toml has a [tool.alembic]; move it to alembic.ini")
    options = _options(ini)
    _check_options(ini.name, options)
    scripts = _scripts(folder, ini, options)
    environment = scripts / "env.py"
    if environment.is_file() and VERSION_TABLE in _content(environment):
        raise _UnknownError(
            "env.py names version_table or version_table_schema; only the default table"
            " alembic_version is supported"
        )
    versions = scripts / "versions"
    if not versions.is_dir():
        raise _UnknownError(f"there is no folder {plain(str(versions.relative_to(folder)), 80)}")
    return versions


def _scripts(folder: Path, ini: Path, options: Mapping[str, str]) -> Path:
    location = options.get("script_location", "").strip()
    if not location:
        raise _UnknownError(f"{ini.name} has no script_location")
    # Relative to Alembic's working directory, the release's folder, or with %(here)s to the file's.
    base = folder
    if location.startswith(HERE):
        base, location = ini.parent, location.removeprefix(HERE).lstrip("/") or "."
    if "%" in location or ":" in location:
        raise _UnknownError(
            f"script_location = {plain(location, 80)} is not a plain path; write it like"
            f" {HERE}/migrations"
        )
    return base / _inside(location)


def _check_options(file: str, options: Mapping[str, str]) -> None:
    found = [name for name in MOVES if options.get(name, "").strip()]
    found += [name for name in ADDS if options.get(name, "").strip().lower() not in OFF]
    if found:
        raise _UnknownError(f"{file} sets {found[0]}; only its default is supported")


def _inside(path: str) -> str:
    """Return a path if it stays within the release. Raises _UnknownError otherwise."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise _UnknownError(f"the path {plain(path, 80)} is outside the release's folder")
    return path


def _options(path: Path) -> Mapping[str, str]:
    """Return the options of Alembic's section without expanding %(...)s, which could exhaust the
    memory. Raises _UnknownError with the file's problem."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_text(path))
    except configparser.Error as error:
        raise _UnknownError(f"{path.name} can't be read: {plain(str(error), 300)}") from error
    return dict(parser["alembic"]) if parser.has_section("alembic") else parser.defaults()


def _has_alembic(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        tool = tomllib.loads(_text(path)).get("tool", {})
    except (ValueError, RecursionError) as error:
        raise _UnknownError(f"{path.name} is not valid TOML") from error
    return isinstance(tool, dict) and "alembic" in tool


def _revision(path: Path) -> Revision:
    values = _constants(path)
    name = values.get("revision")
    if not isinstance(name, str) or not name:
        raise _UnknownError(f'{plain(path.name, 80)} sets no revision = "..." at its top')
    parents = (*_names(path, values, "down_revision"), *_names(path, values, "depends_on"))
    return Revision(name, parents, compatible=values.get(MARK) is True)


def _names(path: Path, values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = values.get(key) or ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (tuple, list, set)) or not all(isinstance(n, str) for n in names):
        raise _UnknownError(f"{plain(path.name, 80)} sets {key} to something computed")
    return tuple(names)


def _constants(path: Path) -> dict[str, Any]:
    """Return the values of a module's top-level names; `...` for values that are not literals."""
    try:
        statements = ast.parse(_content(path)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = plain(str(error), 200)
        raise ReleaseError(
            f"The revision {plain(path.name, 80)} is not Python: {reason}"
        ) from error
    values: dict[str, Any] = {}
    for node in statements:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and node.value:
                values[target.id] = _literal(node.value)
    return values


def _text(path: Path) -> str:
    """Return the text of a configuration file. Parsers take time and memory by the square of a
    line's length, and a rollback reads the files of all installed releases."""
    text = _content(path).decode(errors="replace")
    if max(map(len, text.splitlines()), default=0) > LONGEST:
        raise _UnknownError(f"{path.name} has a line of more than {LONGEST} characters")
    return text


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise _UnknownError(f"{plain(path.name, 80)} is larger than {LARGEST >> 20} MiB")
    return path.read_bytes()


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return (...,)  # neither a name nor None
