"""Units, kept running with the configuration that stands on disk."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

PROPERTIES = (
    "ActiveState", "UnitFileState", "NeedDaemonReload", "StateChangeTimestamp",
    "ActiveEnterTimestamp",
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """A unit's properties, and when each file that it reads last changed (seconds of the epoch)."""

    properties: dict[str, str]
    changed: dict[str, float]
    proven: bool = True

    def is_behind(self, files: Sequence[str], since: str) -> bool:
        """Tell whether one of the files changed after the unit's timestamp `since`."""
        loaded = _seconds(self.properties.get(since, ""))
        return any(self.changed.get(file, 0) > loaded for file in files)


class Unit(FactBase[State]):
    """What systemd knows of a unit, and the age of the files that it reads."""

    def command(self, unit: str, files: Sequence[str], proof: str = "true") -> str:
        """Return one command that asks for both."""
        names = ",".join(PROPERTIES)
        # The newest change below a folder counts as the folder's own.
        ages = " ".join(
            f'echo "{file}=$(find -L {shlex.quote(file)} -printf "%C@\\n" 2>/dev/null'
            ' | sort -n | tail -1)";'
            for file in files
        )
        show = f"systemctl show --timestamp=us+utc -p {names} {shlex.quote(unit)}"
        return f"{show}; {ages} {proof} || echo unproven="

    @staticmethod
    def default() -> State:
        """Return the state of a unit that isn't there."""
        return State({}, {})

    def process(self, output: list[str]) -> State:
        """Return the unit's state."""
        values = dict(line.split("=", 1) for line in output)
        files = {key: float(value) for key, value in values.items() if key[0] == "/" and value}
        return State(
            {key: values.get(key, "") for key in PROPERTIES}, files, "unproven" not in values
        )


@operation()
def running(
    unit: str,
    *,
    reload_for: Sequence[str] = (),
    restart_for: Sequence[str] = (),
    proof: str = "true",
    enabled: bool = True,
) -> Generator[StringCommand, None, None]:
    """Have a unit run, start at boot, and have read its files as they are now.

    Whether it has is read off the host: a file's last change against the unit's last start or
    reload. So a run that died between a change and its reload is mended by the next. `proof` is
    a command that succeeds as long as the unit's work is still in effect.
    """
    state = host.get_fact(Unit, unit=unit, files=[*reload_for, *restart_for], proof=proof)
    properties = state.properties
    if properties.get("NeedDaemonReload") == "yes":
        yield StringCommand("systemctl daemon-reload")
    if enabled and properties.get("UnitFileState") not in {"enabled", "static", "alias"}:
        yield StringCommand(f"systemctl enable --quiet {unit}")
    if properties.get("ActiveState") != "active" or state.is_behind(
        restart_for, since="ActiveEnterTimestamp"
    ):
        # systemd does not notice the first drop-in of a unit: NeedDaemonReload stays "no".
        yield StringCommand(f"systemctl daemon-reload && systemctl restart {unit}")
    elif not state.proven or state.is_behind(reload_for, since="StateChangeTimestamp"):
        yield StringCommand(f"systemctl reload {unit}")


def _seconds(timestamp: str) -> float:
    """Return systemd's "Fri 2026-11-20 04:26:27.123456 UTC" in seconds of the epoch."""
    if not timestamp or timestamp == "n/a":
        return 0
    text = timestamp.split(" ", 1)[1].removesuffix(" UTC")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
