"""An app's state from systemd and its history, for `status` and the checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onebox_release.app import App, Release
from onebox_release.core import history, pause, release_units, timers
from onebox_release.host import systemd


@dataclass(frozen=True)
class Unit:
    """A process of the live release."""

    process: str
    unit: str
    state: str
    """systemd's ActiveState."""
    restarts: int
    """Restarts by systemd."""


@dataclass(frozen=True)
class AppState:
    """What runs of an app, and its last results."""

    live: str | None
    missing: str | None
    """The release that `current` points to, if it does not exist: then no release is live."""
    deploying: bool
    paused: bool
    up: list[str]
    """The releases with an active process, socket or target."""
    units: list[Unit] = field(default_factory=list)
    """The processes of the live release."""
    last: history.Entry | None = None
    """The last entry of the history."""
    timers: dict[str, timers.Run] = field(default_factory=dict)
    """The last run of each timer."""

    @property
    def down(self) -> list[str]:
        """Return the inactive units of the live release."""
        return [each.unit for each in self.units if each.state != "active"]

    @property
    def others(self) -> list[str]:
        """Return the active releases other than the live one."""
        return [release for release in self.up if release != self.live]


def observe(app: App, release: Release | None, entries: list[history.Entry]) -> AppState:
    """Return the state of an app, given its live release and its history. Raises ReleaseError if
    the server has no such app."""
    return AppState(
        live=release.id if release else None,
        missing=app.missing(),
        deploying=systemd.is_active(app.unit),
        paused=pause.is_paused(app),
        up=systemd.releases_up(app.name, release_units.all_processes(app)),
        units=[*_units(release)] if release else [],
        last=entries[-1] if entries else None,
        timers=timers.last(app),
    )


def _units(release: Release) -> Iterator[Unit]:
    for process in release_units.processes(release):
        unit = release.unit(process)
        found = systemd.show(unit, "ActiveState", "NRestarts")
        restarts = int(found.get("NRestarts") or 0)
        yield Unit(process, unit, found.get("ActiveState", ""), restarts)
