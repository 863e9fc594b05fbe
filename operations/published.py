"""The static folders of the releases on a server."""

from __future__ import annotations

import re

from pyinfra.api.facts import FactBase

NAME = re.compile(r"[A-Za-z0-9._~-]+")


class Published(FactBase[dict[str, list[str]]]):
    """The folders that nginx serves of kept releases, by app."""

    def command(self) -> str:
        """Return the command."""
        return (
            'for path in /srv/*/releases/*/static/*/; do [ ! -d "$path" ] || echo "$path"; done'
            " | cut -d/ -f3,7 | sort -u"
        )

    @staticmethod
    def default() -> dict[str, list[str]]:
        """Return no folders."""
        return {}

    def process(self, output: list[str]) -> dict[str, list[str]]:
        """Return the folders by app."""
        found: dict[str, list[str]] = {}
        for line in output:
            app, _, folder = line.partition("/")
            if NAME.fullmatch(folder):
                found.setdefault(app, []).append(folder)
        return found
