"""How a server differs from the repository: the differences that a deploy would fix."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from textwrap import TextWrapper
from typing import Any

from pyinfra.api import State
from pyinfra.api.host import Host

from commands.connect import connected
from commands.inventory import PROJECT
from operations import manifest
from operations.access import Access, access_changes, managed_user
from operations.difference import EDITED, Difference, differences_of
from operations.release import ABANDONED, abandoned
from settings import VM
from settings.exit_codes import DRIFT

WIDTH = 80
OUTDATED = "will change (unedited since the last deploy)"
ACCEPT = "Remove what you don't recognise, then accept the rest with --data accept=true."


@dataclass(frozen=True)
class Drift:
    """The differences on a server: those that the next deploy fixes, and those that it leaves."""

    host: str
    deploy: list[Difference]
    person: list[Difference]

    @property
    def code(self) -> int:
        """Return the exit code."""
        return DRIFT if self.deploy or self.person else 0

    def document(self) -> str:
        """Return the differences as JSON."""
        data = {
            kind: [asdict(difference) for difference in getattr(self, kind)]
            for kind in ("deploy", "person")
        }
        return json.dumps({"schema": 1, "host": self.host, "app": None, "data": data})

    def __str__(self) -> str:
        if not self.code:
            return f"{self.host} has no drift."
        parts = []
        if self.deploy:
            head = f"The next deploy fixes on {self.host}:"
            parts.append("\n".join([head, *_lines(self.deploy)]))
        if self.person:
            accept = [] if all(ABANDONED in each.how for each in self.person) else [ACCEPT]
            parts.append("\n".join([f"Left to you on {self.host}:", *_lines(self.person), *accept]))
        return "\n\n".join(parts)


def inspect(name: str, data: Mapping[str, Any]) -> Drift:
    """Return the differences on a server, without changing anything.

    Raises PyinfraError if the server can't be inspected.
    """
    with connected(name, data) as (state, host):
        runpy.run_path(str(PROJECT / "deploy.py"))
        # Each once: a deploy configures nginx twice.
        found = list(dict.fromkeys(_differences(state, host)))
        found = _mark_outdated(found, host)
        if len(found) > 1:  # the manifest differs whenever a file does
            found = [each for each in found if each.what != manifest.PATH]
        vm: VM = data["vm"]
        access = access_changes(host.get_fact(Access, managed_user=managed_user(vm)))
        return Drift(name, found, [*abandoned(host, [app.name for app in vm.apps]), *access])


def _differences(state: State, host: Host) -> Iterator[Difference]:
    for key in host.op_hash_order:
        commands = list(state.get_op_data_for_host(host, key).command_generator())
        found = [difference for command in commands for difference in differences_of(command)]
        if commands and not found:
            name = next(iter(state.get_op_meta(key).names))
            found = [Difference(name, "would change something")]
        yield from found


def _mark_outdated(found: list[Difference], host: Host) -> list[Difference]:
    """Return the differences, with other words for files that only the repository has changed."""
    edited = [each.what for each in found if each.how == EDITED]
    if not edited:
        return found
    unedited: list[str] = host.get_fact(manifest.Unedited, paths=edited)
    return [
        Difference(each.what, OUTDATED) if each.how == EDITED and each.what in unedited else each
        for each in found
    ]


def _lines(differences: list[Difference]) -> Iterator[str]:
    for difference in differences:
        line = f"  {difference.what} {difference.how}"
        if len(line) > WIDTH:
            wrapper = TextWrapper(
                WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
            )
            line = f"{wrapper.fill(f'  {difference.what}')}\n      {difference.how}"
        yield line
