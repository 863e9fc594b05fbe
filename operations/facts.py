"""Base classes of facts."""

from __future__ import annotations

from pyinfra.api.facts import FactBase


class YesOrNo(FactBase[bool]):
    """Whether a command prints "yes"."""

    @staticmethod
    def default() -> bool:
        """Return False, for a server without onebox."""
        return False

    def process(self, output: list[str]) -> bool:
        """Return whether the output is "yes"."""
        return output == ["yes"]


class Names(FactBase[list[str]]):
    """The names or paths that a command prints, one per line."""

    @staticmethod
    def default() -> list[str]:
        """Return no names, for a server without onebox."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the names."""
        return output
