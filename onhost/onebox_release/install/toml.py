"""Read untrusted TOML within limits, and write TOML."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from onebox_release.errors import ReleaseError

# bytes; the lock of 2,000 packages with all their wheels has 6 MiB. Twice that takes Debian 12's
# Python 20 s and 700 MB.
MOST = 8 << 20


def read(name: str, content: bytes) -> dict[str, Any]:
    """Return a document. Raises ReleaseError, without its content, if it is invalid."""
    if len(content) > MOST:
        raise ReleaseError(f"{name} is larger than {MOST >> 20} MiB.")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        raise ReleaseError(f"{name} is not valid TOML ({kind}).") from None


def encode(value: Any) -> str:
    """Return a value as TOML, tables inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode(key)} = {encode(of)}" for key, of in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(encode, value)) + "]"
    if isinstance(value, str):  # as in JSON, except for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def dumps(tables: dict[str, Any]) -> bytes:
    """Return a TOML document with these keys."""
    return "".join(f"{encode(key)} = {encode(of)}\n" for key, of in tables.items()).encode()
