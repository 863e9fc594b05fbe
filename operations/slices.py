"""Limits of systemd slices, which apply to running processes without a restart."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.systemd import OURS, SET_ASIDE, drop_in_folders

Limits = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class SlicesState:
    """The properties of slices by name, and the drop-ins that are not ours."""

    properties: dict[str, dict[str, str]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()


class Slices(FactBase[SlicesState]):
    """The limits that systemd applies to slices, and the drop-ins that override them."""

    def command(self, limits: Limits) -> str:
        """Return one command for all slices."""
        names = sorted({name for values in limits.values() for name in values})
        properties = ",".join(["Id", "ActiveState", "NeedDaemonReload", *names])
        folders = [folder for unit in limits for folder in drop_in_folders(unit)]
        return (
            f"systemctl show -p {properties} {shlex.join(limits)};"
            f" find {shlex.join(folders)} -name '*.conf' -printf '%p\\n' 2>/dev/null || true"
        )

    @staticmethod
    def default() -> SlicesState:
        """Return no slices."""
        return SlicesState()

    def process(self, output: Sequence[str]) -> SlicesState:
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
        return SlicesState(properties, tuple(overrides))


@operation()
def apply_limits(limits: Limits) -> Generator[StringCommand, None, None]:
    """Give slices exactly these limits; their processes keep running."""
    state = host.get_fact(Slices, limits=limits)
    for path in state.overrides:
        aside = StringCommand(f"mv -T {shlex.quote(path)} {shlex.quote(path + SET_ASIDE)}")
        yield fixes(aside, Difference(path, "overrides a limit"))
    outdated = {unit: _describe(state, unit, expected) for unit, expected in limits.items()}
    if any(outdated.values()) or state.overrides:
        differences = [Difference(unit, how) for unit, how in outdated.items() if how]
        yield fixes(StringCommand("systemctl daemon-reload"), *differences)
    inactive = [unit for unit in limits if _properties(state, unit).get("ActiveState") != "active"]
    if inactive:
        start = StringCommand(f"systemctl start {shlex.join(inactive)}")
        yield fixes(start, *(Difference(unit, "is inactive") for unit in inactive))


def _describe(state: SlicesState, unit: str, expected: Mapping[str, str]) -> str:
    """Return how a slice differs from its expected limits; "" if it does not."""
    current = _properties(state, unit)
    texts = [
        f"has {name} {current.get(name, 'not set')}, not {value}"
        for name, value in expected.items()
        if current.get(name) != value
    ]
    if current.get("NeedDaemonReload") == "yes":
        texts.append("has changed files that systemd has not loaded")
    return ", ".join(texts)


def _properties(state: SlicesState, unit: str) -> dict[str, str]:
    return state.properties.get(unit, {})
