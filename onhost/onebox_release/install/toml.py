"""TOML that others wrote, read within bounds, and TOML of our own."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from onebox_release.errors import ReleaseError

# The lock of a project with 2,000 packages and all their wheels has 6 MiB. Twice that takes
# Debian 12's Python 20 s and 700 MB.
MOST = 8 << 20


def read(name: str, content: bytes) -> dict[str, Any]:
    """Return a document. Raises ReleaseError, which shows nothing of it, where it is none."""
    if len(content) > MOST:
        raise ReleaseError(f"{name} has more than {MOST >> 20} MiB.")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        raise ReleaseError(f"{name} is not valid TOML ({kind}).") from None


def written(value: Any) -> str:
    """Return a value as TOML; tables are inline ones."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)} = {written(of)}" for key, of in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):  # as in JSON, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def document(tables: dict[str, Any]) -> bytes:
    """Return a document of these keys."""
    return "".join(f"{written(key)} = {written(of)}\n" for key, of in tables.items()).encode()
