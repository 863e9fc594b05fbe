"""The preflight alone: whether a server can take a deploy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

from commands.connect import connected
from preflight import facts
from preflight.rules import WIDTH, problems, refusal, warnings
from settings import VM
from settings.exit_codes import REFUSED
from settings.mistakes import Mistake
from tasks.system import packages


@dataclass(frozen=True)
class Preflight:
    """The problems that prevent a deploy to a server, and warnings."""

    host: str
    problems: list[Mistake]
    warnings: list[str]

    @property
    def code(self) -> int:
        """Return the exit code."""
        return REFUSED if self.problems else 0

    def document(self) -> str:
        """Return the result as JSON."""
        data = {"problems": [asdict(each) for each in self.problems], "warnings": self.warnings}
        return json.dumps({"schema": 1, "host": self.host, "app": None, "data": data})

    def __str__(self) -> str:
        ready = f"{self.host} can take a deploy."
        return "\n\n".join([
            refusal(self.host, self.problems) if self.problems else ready,
            *(fill(warning, WIDTH) for warning in self.warnings),
        ])  # fmt: skip


def inspect(name: str, data: Mapping[str, Any]) -> Preflight:
    """Return the preflight of a server, without changing anything.

    Raises PyinfraError if the server can't be inspected.
    """
    vm: VM = data["vm"]
    with connected(name, data) as (_, host):
        server, external = facts.observe(host, vm, packages(vm))
    return Preflight(name, problems(vm, server, external), list(warnings(server, external)))
