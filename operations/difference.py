"""What on a server differs from what is wanted, told by the command that mends it.

So drift is a deploy's dry run in words, and what is told is mended by the next deploy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pyinfra.api.command import PyinfraCommand

EDITED = "was edited"  # how a file differs in its content
Command = TypeVar("Command", bound=PyinfraCommand)


@dataclass(frozen=True, order=True)
class Difference:
    """A path, unit, role or the like, and how it differs. Never a value: it could be secret."""

    what: str
    how: str


def mends(command: Command, *differences: Difference) -> Command:
    """Return the command, which now tells what it mends."""
    vars(command)["differences"] = differences
    return command


def mended(command: PyinfraCommand) -> tuple[Difference, ...]:
    """Return what a command mends; nothing for a step of a mend that another command told."""
    told: tuple[Difference, ...] = vars(command).get("differences", ())
    return told
