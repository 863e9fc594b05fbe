"""What on a server differs from what the repository wants: a deploy's dry run, told in words."""

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

DRIFT = 2  # exit code
WIDTH = 80
NEWER = "will change (it is as the last deploy left it)"
ACCEPT = (
    "Take away what nobody wanted. What is then still here is put on record by a",
    "deploy with --data accept=true.",
)


@dataclass(frozen=True)
class Drift:
    """What differs on a server: what the next deploy mends, and what it leaves to a person."""

    host: str
    deploy: list[Difference]
    person: list[Difference]

    @property
    def code(self) -> int:
        """Return the exit code."""
        return DRIFT if self.deploy or self.person else 0

    def document(self) -> str:
        """Return it for programs."""
        data = {
            kind: [asdict(difference) for difference in getattr(self, kind)]
            for kind in ("deploy", "person")
        }
        return json.dumps({"schema": 1, "host": self.host, "app": None, "data": data})

    def __str__(self) -> str:
        if not self.code:
            return f"{self.host} is as the repository wants it."
        parts = []
        if self.deploy:
            parts.append("\n".join([f"The next deploy mends on {self.host}:", *_told(self.deploy)]))
        if self.person:
            accept = [] if all(ABANDONED in each.how for each in self.person) else ACCEPT
            parts.append("\n".join([f"Left to you on {self.host}:", *_told(self.person), *accept]))
        return "\n\n".join(parts)


def look(name: str, data: Mapping[str, Any]) -> Drift:
    """Return what differs on a server, and change nothing.

    Raises PyinfraError where the server can't be looked at.
    """
    with connected(name, data) as (state, host):
        runpy.run_path(str(PROJECT / "deploy.py"))
        # Each once: nginx comes twice in a deploy.
        mends = list(dict.fromkeys(_differences(state, host)))
        mends = _reworded(mends, host)
        if len(mends) > 1:  # what the checks expect is another wherever a file is: no news
            mends = [each for each in mends if each.what != manifest.PATH]
        vm: VM = data["vm"]
        access = access_changes(host.get_fact(Access, managed_user=managed_user(vm)))
        return Drift(name, mends, [*abandoned(host, [app.name for app in vm.apps]), *access])


def _differences(state: State, host: Host) -> Iterator[Difference]:
    for key in host.op_hash_order:
        commands = list(state.get_op_data_for_host(host, key).command_generator())
        told = [difference for command in commands for difference in differences_of(command)]
        if commands and not told:
            told = [Difference(next(iter(state.get_op_meta(key).names)), "would change something")]
        yield from told


def _reworded(found: list[Difference], host: Host) -> list[Difference]:
    """Return the differences, worded for files that nobody edited: what is wanted has changed."""
    edited = [each.what for each in found if each.how == EDITED]
    if not edited:
        return found
    unedited: list[str] = host.get_fact(manifest.Unedited, paths=edited)
    return [
        Difference(each.what, NEWER) if each.how == EDITED and each.what in unedited else each
        for each in found
    ]


def _told(differences: list[Difference]) -> Iterator[str]:
    for difference in differences:
        line = f"  {difference.what} {difference.how}"
        if len(line) > WIDTH:
            words = TextWrapper(
                WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
            )
            line = f"{words.fill(f'  {difference.what}')}\n      {difference.how}"
        yield line
