"""An app as systemd and its history show it: measured here, rendered by `status` and the checks."""

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
    """How often systemd has restarted it."""


@dataclass(frozen=True)
class AppState:
    """What runs of an app, and what happened to it last."""

    live: str | None
    missing: str | None
    """The release that `current` points to, where that is not there: then nothing is live."""
    deploying: bool
    paused: bool
    up: list[str]
    """The releases that have a process, a socket or a target up."""
    units: list[Unit] = field(default_factory=list)
    """Those of the live release."""
    last: history.Entry | None = None
    """The last entry of the history."""
    timers: dict[str, timers.Run] = field(default_factory=dict)
    """How the last run of each timer ended."""

    @property
    def down(self) -> list[str]:
        """Return the units of the live release that are not up."""
        return [each.unit for each in self.units if each.state != "active"]

    @property
    def others(self) -> list[str]:
        """Return the releases that are up and not live."""
        return [release for release in self.up if release != self.live]


def observe(app: App) -> AppState:
    """Return the state of an app. Raises ReleaseError where it is unknown here."""
    release, entries = app.live(), history.read(app)
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
