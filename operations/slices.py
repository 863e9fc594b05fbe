"""Slices: limits that apply to what runs, without a restart of anything."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.systemd import OURS, SET_ASIDE, drop_in_folders

Limits = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class State:
    """The properties of slices by name, and the drop-ins that are not onebox's."""

    properties: dict[str, dict[str, str]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()


class Slices(FactBase[State]):
    """What systemd applies to slices, and where a person overrides it."""

    def command(self, limits: Limits) -> str:
        """Return one command that reads all of them."""
        names = sorted({name for wanted in limits.values() for name in wanted})
        asked = ",".join(["Id", "ActiveState", "NeedDaemonReload", *names])
        folders = [folder for unit in limits for folder in drop_in_folders(unit)]
        return (
            f"systemctl show -p {asked} {shlex.join(limits)};"
            f" find {shlex.join(folders)} -name '*.conf' -printf '%p\\n' 2>/dev/null || true"
        )

    @staticmethod
    def default() -> State:
        """Return the state of a host that has none of them."""
        return State()

    def process(self, output: Sequence[str]) -> State:
        """Return the slices' state."""
        properties: dict[str, dict[str, str]] = {}
        block: dict[str, str] = {}
        overrides = []
        for line in output:
            key, is_property, value = line.partition("=")
            if line.startswith("/"):
                overrides += [] if line.endswith(f"/{OURS}") else [line]
            elif not is_property:
                block = {}
            else:
                block[key] = value
                if "Id" in block:
                    properties[block["Id"]] = block
        return State(properties, tuple(overrides))


@operation()
def bounded(limits: Limits) -> Generator[StringCommand, None, None]:
    """Have slices with exactly these properties; what runs in them goes on."""
    state = host.get_fact(Slices, limits=limits)
    for path in state.overrides:
        aside = StringCommand(f"mv -T {shlex.quote(path)} {shlex.quote(path + SET_ASIDE)}")
        yield mends(aside, Difference(path, "overrides a limit"))
    behind = [unit for unit, wanted in limits.items() if _is_behind(state, unit, wanted)]
    if behind or state.overrides:
        differences = [Difference(unit, "has other limits") for unit in behind]
        yield mends(StringCommand("systemctl daemon-reload"), *differences)
    down = [unit for unit in limits if _of(state, unit).get("ActiveState") != "active"]
    if down:
        start = StringCommand(f"systemctl start {shlex.join(down)}")
        yield mends(start, *(Difference(unit, "is not up") for unit in down))


def _is_behind(state: State, unit: str, wanted: Mapping[str, str]) -> bool:
    found = _of(state, unit)
    return found.get("NeedDaemonReload") == "yes" or any(
        found.get(name) != value for name, value in wanted.items()
    )


def _of(state: State, unit: str) -> dict[str, str]:
    return state.properties.get(unit, {})
