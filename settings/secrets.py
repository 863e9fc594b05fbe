"""Secrets come from a file beside the inventory: one for each environment, staging say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from settings.values import ENVIRONMENT


def secrets_of(vm: object, root: Path) -> tuple[str, dict[str, str]]:
    """Return the name of a server's file of secrets, and what it says.

    One file for each environment and no common one: a secret that staging lacks must be missed,
    not borrowed from production. Raises ValueError where the file can't be read.
    """
    name = vm.get("environment") if isinstance(vm, Mapping) else None
    known = isinstance(name, str) and ENVIRONMENT.fullmatch(name)
    file = f"secrets.{name}.env" if known else "secrets.env"
    return file, read_env_file(root / file)


def read_env_file(path: Path) -> dict[str, str]:
    """Return the KEY=VALUE lines of a file that may be absent; # starts a comment line.

    As in a shell, quotes around a value are not part of it, and `export` may stand in front.

    Raises ValueError that names the first line which is neither, without what stands there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as UTF-8 text: {type(error).__name__}.") from None
    values = {}
    for number, line in enumerate(lines, start=1):
        key, equals, value = line.strip().partition("=")
        if not key or key.startswith("#"):
            continue
        if not equals:
            raise ValueError(
                f"{path.name}, line {number}: expected KEY=VALUE, found a line without =. Write it"
                " as in LINKS_STRIPE_KEY=sk_live_1, or start it with # to keep it as a comment."
            )
        values[key.removeprefix("export ").strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
