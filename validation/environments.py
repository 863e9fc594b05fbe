"""Environments, staging and production say: each has its own file of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from validation.env_file import read_env_file
from validation.values import ENVIRONMENT


def secrets_of(vm: object, root: Path) -> tuple[str, dict[str, str]]:
    """Return the name of a server's file of secrets, and what it says.

    One file for each environment and no common one: a secret that staging lacks must be missed,
    not borrowed from production. Raises ValueError where the file can't be read.
    """
    name = vm.get("environment") if isinstance(vm, Mapping) else None
    known = isinstance(name, str) and ENVIRONMENT.fullmatch(name)
    file = f"secrets.{name}.env" if known else "secrets.env"
    return file, read_env_file(root / file)
