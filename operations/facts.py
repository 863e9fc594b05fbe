"""What several facts share: how an answer is read, and what an untouched host would answer."""

from __future__ import annotations

from pyinfra.api.facts import FactBase


class YesOrNo(FactBase[bool]):
    """Whether a command prints yes."""

    @staticmethod
    def default() -> bool:
        """Return the state of a host where it doesn't."""
        return False

    def process(self, output: list[str]) -> bool:
        """Tell whether it does."""
        return output == ["yes"]


class Names(FactBase[list[str]]):
    """The names that a command prints, one a line."""

    @staticmethod
    def default() -> list[str]:
        """Return what a host without any has."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the names."""
        return output
