"""Whether a server can take a deploy, asked alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

from commands.connect import connected
from commands.inventory import REFUSED
from preflight import facts
from preflight.rules import WIDTH, problems, refusal, warnings
from settings.mistakes import Mistake
from tasks.system import packages


@dataclass(frozen=True)
class Preflight:
    """What stands in the way of a deploy to a server, and what may be meant so."""

    host: str
    problems: list[Mistake]
    warnings: list[str]

    @property
    def code(self) -> int:
        """Return the exit code."""
        return REFUSED if self.problems else 0

    def document(self) -> str:
        """Return it for programs."""
        told = {"problems": [asdict(each) for each in self.problems], "warnings": self.warnings}
        return json.dumps({"schema": 1, "host": self.host, "app": None, "data": told})

    def __str__(self) -> str:
        ready = f"{self.host} can take a deploy."
        return "\n\n".join([
            refusal(self.host, self.problems) if self.problems else ready,
            *(fill(warning, WIDTH) for warning in self.warnings),
        ])  # fmt: skip


def look(name: str, data: Mapping[str, Any]) -> Preflight:
    """Return what a deploy would say of a server before it began, and change nothing.

    Raises PyinfraError where the server can't be looked at.
    """
    with connected(name, data) as (_, host):
        seen, outside = facts.look(host, data["vm"], packages(data["vm"]))
    told = [] if "lacks" in seen else list(warnings(seen, outside))
    return Preflight(name, problems(data["vm"], seen, outside), told)
