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

from operations.difference import Difference, mends

PROPERTIES = (
    "ActiveState", "UnitFileState", "NeedDaemonReload", "StateChangeTimestamp",
    "ActiveEnterTimestamp",
)  # fmt: skip
# Where a person, or systemctl for one, changes a unit; Debian's own drop-ins are elsewhere.
BY_HAND = (
    "/etc/systemd/system", "/etc/systemd/system.control",
    "/run/systemd/system", "/run/systemd/system.control",
)  # fmt: skip
OURS = "onebox.conf"
SET_ASIDE = ".set-aside"  # behind the name of a drop-in, which systemd then doesn't read


@dataclass(frozen=True)
class State:
    """A unit's properties, and when each file that it reads last changed (seconds of the epoch)."""

    properties: dict[str, str]
    changed: dict[str, float]
    proven: bool = True
    overrides: tuple[str, ...] = ()
    """Drop-ins that are not ours."""

    def is_behind(self, files: Sequence[str], since: str) -> bool:
        """Tell whether one of the files changed after the unit's timestamp `since`."""
        loaded = _seconds(self.properties.get(since, ""))
        return any(self.changed.get(file, 0) > loaded for file in files)


def drop_in_folders(unit: str) -> list[str]:
    """Return the folders of a unit's own drop-ins, and of its template's."""
    name, _, kind = unit.rpartition(".")
    template = {f"{name.partition('@')[0]}@.{kind}"} if "@" in name else set()
    return [f"{root}/{owner}.d" for root in BY_HAND for owner in (unit, *template)]


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
        by_hand = (
            f"find {shlex.join(drop_in_folders(unit))} -name '*.conf' -printf 'drop-in %p=\\n'"
            f" -o -name '*{SET_ASIDE}' -printf '%p=%C@\\n' 2>/dev/null"
        )
        return f"{show}; {ages} {by_hand}; {proof} || echo unproven="

    @staticmethod
    def default() -> State:
        """Return the state of a unit that isn't there."""
        return State({}, {})

    def process(self, output: list[str]) -> State:
        """Return the unit's state."""
        values = dict(line.split("=", 1) for line in output)
        files = {key: float(value) for key, value in values.items() if key[0] == "/" and value}
        properties = {key: values.get(key, "") for key in PROPERTIES}
        drop_ins = [key.removeprefix("drop-in ") for key in values if key.startswith("drop-in ")]
        foreign = tuple(path for path in drop_ins if not path.endswith(f"/{OURS}"))
        return State(properties, files, "unproven" not in values, foreign)


class DropIns(FactBase[list[str]]):
    """The drop-ins that systemd has read for a unit."""

    def command(self, unit: str) -> str:
        """Return the command."""
        return f"systemctl show -p DropInPaths --value {shlex.quote(unit)}"

    @staticmethod
    def default() -> list[str]:
        """Return what a unit that isn't there has."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return their paths."""
        return " ".join(output).split()


@operation()
def drop_in_read(unit: str, path: str) -> Generator[StringCommand, None, None]:
    """Have systemd read a drop-in of a unit that is another's to run."""
    if path not in host.get_fact(DropIns, unit=unit):
        unread = Difference(unit, f"was loaded before {path} was placed")
        yield mends(StringCommand("systemctl daemon-reload"), unread)


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
    for path in state.overrides:
        # Kept, but not read. Its new name is its newest change: the unit is restarted for it.
        aside = StringCommand(f"mv -T {shlex.quote(path)} {shlex.quote(path + SET_ASIDE)}")
        yield mends(aside, Difference(path, f"overrides {unit}"))
    if properties.get("NeedDaemonReload") == "yes":
        how = "was loaded before its file was changed"
        yield mends(StringCommand("systemctl daemon-reload"), Difference(unit, how))
    if properties.get("UnitFileState") in {"masked", "masked-runtime"}:
        unmask = f"systemctl unmask --quiet {unit}; systemctl unmask --quiet --runtime {unit}"
        yield mends(StringCommand(unmask), Difference(unit, "is masked"))
    if enabled and properties.get("UnitFileState") not in {"enabled", "static", "alias"}:
        enable = StringCommand(f"systemctl enable --quiet {unit}")
        yield mends(enable, Difference(unit, "does not start at boot"))
    if properties.get("ActiveState") != "active":
        how = f"is {properties.get('ActiveState') or 'missing'}"
    elif state.overrides or state.is_behind(
        [*restart_for, *(path for path in state.changed if path.endswith(SET_ASIDE))],
        since="ActiveEnterTimestamp",
    ):
        how = "was started before its files were changed"
    else:
        how = ""
    if how:
        # systemd does not notice the first drop-in of a unit: NeedDaemonReload stays "no".
        restart = StringCommand(f"systemctl daemon-reload && systemctl restart {unit}")
        yield mends(restart, Difference(unit, how))
    elif not state.proven:
        reload = StringCommand(f"systemctl reload {unit}")
        yield mends(reload, Difference(unit, "is not in effect as it was loaded"))
    elif state.is_behind(reload_for, since="StateChangeTimestamp"):
        reload = StringCommand(f"systemctl reload {unit}")
        yield mends(reload, Difference(unit, "has not read its newest files"))


def _seconds(timestamp: str) -> float:
    """Return systemd's "Fri 2026-11-20 04:26:27.123456 UTC" in seconds of the epoch."""
    if not timestamp or timestamp == "n/a":
        return 0
    text = timestamp.split(" ", 1)[1].removesuffix(" UTC")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
