"""Who gets in: told when it changes, changed by nobody but a person."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.files import File, write

PROGRAM = Path(__file__).resolve().parent.parent / "onhost/onebox_release/access.py"
RECORD = "/var/lib/onebox/access.json"


class Access(FactBase[dict[str, Any]]):
    """Keys, sudo rights and listeners: as they are now, and as they were put on record."""

    def command(self) -> str:
        """Return the command."""
        return f"python3 -c {shlex.quote(PROGRAM.read_text())}"

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the state of a host that nothing is known of."""
        return {"now": [], "known": None}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return both lists, by name."""
        both: dict[str, Any] = json.loads(output[0])
        return both


@operation()
def recorded(*, accept: bool) -> Generator[StringCommand, None, None]:
    """Put on record who gets in, the first time; later, only if a person says so by `accept`."""
    access = host.get_fact(Access)
    if access["known"] is None or (accept and access["known"] != access["now"]):
        record = write(File(RECORD, json.dumps(access["now"], indent=1), mode="600"))
        yield mends(record, Difference(RECORD, "does not say who gets in"))


def foreign(access: dict[str, Any]) -> list[Difference]:
    """Return what changed since it was put on record. A deploy changes nothing of it."""
    now, known = set(access["now"]), set(access["known"] or access["now"])
    added = (Difference(what, "is not on record") for what in sorted(now - known))
    gone = (Difference(what, "is gone") for what in sorted(known - now))
    return [*added, *gone]
