"""What differs between a server and the inventory, attached to the command that fixes it.

So drift is a deploy's dry run in words, and the next deploy fixes all that drift reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pyinfra.api.command import PyinfraCommand

EDITED = "was edited"  # how a file differs in its content
Command = TypeVar("Command", bound=PyinfraCommand)


@dataclass(frozen=True, order=True)
class Difference:
    """A path, unit, role or the like, and how it differs. Never a value that could be secret."""

    what: str
    how: str


def fixes(command: Command, *differences: Difference) -> Command:
    """Return the command with the differences that it fixes attached."""
    vars(command)["differences"] = differences
    return command


def differences_of(command: PyinfraCommand) -> tuple[Difference, ...]:
    """Return what a command fixes; nothing for a later step of another command's fix."""
    differences: tuple[Difference, ...] = vars(command).get("differences", ())
    return differences
