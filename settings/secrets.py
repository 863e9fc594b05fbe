"""Secrets from a file beside the inventory, one for each environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from settings.values import ENVIRONMENT


def secrets_of(vm: object, root: Path) -> tuple[str, dict[str, str]]:
    """Return the name of a server's secrets file, and its variables.

    Environments share no file: a secret that staging lacks must be an error, not production's.
    Raises ValueError if the file can't be read.
    """
    name = vm.get("environment") if isinstance(vm, Mapping) else None
    known = isinstance(name, str) and ENVIRONMENT.fullmatch(name)
    file = f"secrets.{name}.env" if known else "secrets.env"
    return file, read_env_file(root / file)


def read_env_file(path: Path) -> dict[str, str]:
    """Return the KEY=VALUE lines of a file that may be absent; # starts a comment line.

    As in a shell, quotes around a value are removed, and a line may start with `export`.

    Raises ValueError with the number, not the text, of the first invalid line.
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
                " like LINKS_STRIPE_KEY=sk_live_1, or start it with # to make it a comment."
            )
        values[key.removeprefix("export ").strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
