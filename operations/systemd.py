"""Units: enabled, active, and started or reloaded after the last change of their files."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes

PROPERTIES = (
    "ActiveState", "UnitFileState", "NeedDaemonReload", "StateChangeTimestamp",
    "ActiveEnterTimestamp",
)  # fmt: skip
# Where people and `systemctl edit` put drop-ins; Debian's own are elsewhere.
BY_HAND = (
    "/etc/systemd/system", "/etc/systemd/system.control",
    "/run/systemd/system", "/run/systemd/system.control",
)  # fmt: skip
OURS = "onebox.conf"
SET_ASIDE = ".set-aside"  # suffix of a drop-in, by which systemd ignores it


@dataclass(frozen=True)
class UnitState:
    """A unit's properties, and the last change of each file that it reads (Unix time)."""

    properties: dict[str, str]
    changed: dict[str, float]
    is_in_effect: bool = True
    overrides: tuple[str, ...] = ()
    """Drop-ins that are not ours."""

    def is_older(self, than: Sequence[str], since: str) -> bool:
        """Return whether a file changed after the unit's timestamp `since`."""
        loaded = _seconds(self.properties.get(since, ""))
        return any(self.changed.get(file, 0) > loaded for file in than)


def drop_in_folders(unit: str) -> list[str]:
    """Return the folders of a unit's and its template's drop-ins."""
    name, _, kind = unit.rpartition(".")
    template = {f"{name.partition('@')[0]}@.{kind}"} if "@" in name else set()
    return [f"{root}/{owner}.d" for root in BY_HAND for owner in (unit, *template)]


class Unit(FactBase[UnitState]):
    """A unit's properties, and the last change of the files that it reads."""

    def command(self, unit: str, files: Sequence[str], check: str = "true") -> str:
        """Return one command for both."""
        names = ",".join(PROPERTIES)
        # A folder counts as changed when anything below it did.
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
        return f"{show}; {ages} {by_hand}; {check} || echo ineffective="

    @staticmethod
    def default() -> UnitState:
        """Return the state of a missing unit."""
        return UnitState({}, {})

    def process(self, output: list[str]) -> UnitState:
        """Return the unit's state."""
        values = dict(line.split("=", 1) for line in output)
        files = {key: float(value) for key, value in values.items() if key[0] == "/" and value}
        properties = {key: values.get(key, "") for key in PROPERTIES}
        drop_ins = [key.removeprefix("drop-in ") for key in values if key.startswith("drop-in ")]
        overrides = tuple(path for path in drop_ins if not path.endswith(f"/{OURS}"))
        return UnitState(properties, files, "ineffective" not in values, overrides)


class DropIns(FactBase[list[str]]):
    """The drop-ins that systemd has loaded for a unit."""

    def command(self, unit: str) -> str:
        """Return the command."""
        return f"systemctl show -p DropInPaths --value {shlex.quote(unit)}"

    @staticmethod
    def default() -> list[str]:
        """Return no drop-ins."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return their paths."""
        return " ".join(output).split()


@operation()
def load_drop_in(unit: str, path: str) -> Generator[StringCommand, None, None]:
    """Load a drop-in of a unit that onebox does not run."""
    if path not in host.get_fact(DropIns, unit=unit):
        difference = Difference(unit, f"was loaded without {path}")
        yield fixes(StringCommand("systemctl daemon-reload"), difference)


@operation()
def activate(
    unit: str,
    *,
    reload_for: Sequence[str] = (),
    restart_for: Sequence[str] = (),
    check: str = "true",
    enabled: bool = True,
) -> Generator[StringCommand, None, None]:
    """Start a unit, now and at boot, and reload or restart it if its files changed since.

    It compares times on the server (a file's last change, the unit's last start or reload), so the
    next run completes one that was killed in between. `check` is a command that succeeds as long as
    what the unit loaded is in effect.
    """
    state = host.get_fact(Unit, unit=unit, files=[*reload_for, *restart_for], check=check)
    yield from _set_aside(unit, state)
    yield from _load(unit, state.properties, enabled=enabled)
    yield from _start_or_reload(unit, state, reload_for, restart_for)


def _set_aside(unit: str, state: UnitState) -> Iterator[StringCommand]:
    for path in state.overrides:
        # Kept, but ignored. Renaming it counts as a change, so the unit is restarted.
        aside = StringCommand(f"mv -T {shlex.quote(path)} {shlex.quote(path + SET_ASIDE)}")
        yield fixes(aside, Difference(path, f"overrides {unit}"))


def _load(unit: str, properties: Mapping[str, str], *, enabled: bool) -> Iterator[StringCommand]:
    if properties.get("NeedDaemonReload") == "yes":
        how = "was loaded before its file was changed"
        yield fixes(StringCommand("systemctl daemon-reload"), Difference(unit, how))
    if properties.get("UnitFileState") in {"masked", "masked-runtime"}:
        unmask = f"systemctl unmask --quiet {unit}; systemctl unmask --quiet --runtime {unit}"
        yield fixes(StringCommand(unmask), Difference(unit, "is masked"))
    if enabled and properties.get("UnitFileState") not in {"enabled", "static", "alias"}:
        enable = StringCommand(f"systemctl enable --quiet {unit}")
        yield fixes(enable, Difference(unit, "does not start at boot"))


def _start_or_reload(
    unit: str, state: UnitState, reload_for: Sequence[str], restart_for: Sequence[str]
) -> Iterator[StringCommand]:
    if how := _reason_to_restart(state, restart_for):
        # systemd does not notice the first drop-in of a unit: NeedDaemonReload stays "no".
        restart = StringCommand(f"systemctl daemon-reload && systemctl restart {unit}")
        yield fixes(restart, Difference(unit, how))
    elif how := _reason_to_reload(state, reload_for):
        yield fixes(StringCommand(f"systemctl reload {unit}"), Difference(unit, how))


def _reason_to_restart(state: UnitState, files: Sequence[str]) -> str:
    active = state.properties.get("ActiveState")
    if active != "active":
        return f"is {active or 'missing'}"
    aside = [path for path in state.changed if path.endswith(SET_ASIDE)]
    if state.overrides or state.is_older([*files, *aside], since="ActiveEnterTimestamp"):
        return "was started before its files were changed"
    return ""


def _reason_to_reload(state: UnitState, files: Sequence[str]) -> str:
    if not state.is_in_effect:
        return "is active, but not in effect"
    if state.is_older(files, since="StateChangeTimestamp"):
        return "was loaded before its files were changed"
    return ""


def _seconds(timestamp: str) -> float:
    """Return systemd's "Fri 2026-11-20 04:26:27.123456 UTC" as Unix time; 0 for none."""
    if not timestamp or timestamp == "n/a":
        return 0
    text = timestamp.split(" ", 1)[1].removesuffix(" UTC")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
