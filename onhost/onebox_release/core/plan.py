"""What a deploy of an archive would do: which release it would become, and what differs now."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from onebox_release.app import App
from onebox_release.core import history, identity, integrity, release_units
from onebox_release.core.requester import KEY
from onebox_release.host import systemd

LIVE = "live"  # instead of an archive's digest: the live release's archive


@dataclass(frozen=True)
class Plan:
    """A deploy's plan; the fields with a default are unknown to an older onebox-release."""

    release: str | None
    """The release that the archive would become; None if the archive is gone."""
    live: str | None
    up: list[str]
    """The releases that are running."""
    digest: str | None = None
    by_key: bool = False
    """Whether a deploy key released the live code."""
    differences: list[integrity.Difference] = field(default_factory=list)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Plan:
        """Return the plan that a program printed, whatever its version."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})

    @property
    def keeps_code(self) -> bool:
        """Return whether the release has the live release's code."""
        if not self.release or not self.live:
            return False
        return self.release.partition("-")[0] == self.live.partition("-")[0]

    @property
    def reverts_a_key(self) -> bool:
        """Return whether the deploy replaces code that a deploy key released."""
        return bool(self.by_key and self.live and self.release and not self.keeps_code)


def plan(app: App, digest: str) -> Plan:
    """Return the plan for an archive. Raises RefusedError if its release id is not unique."""
    live = app.live()
    found: str | None = digest
    if digest == LIVE:
        found = identity.archived(live) if live else None
    else:
        identity.check_unique(app, digest)
    return Plan(
        release=identity.release_of(app, found).id if found else None,
        live=live.id if live else None,
        up=systemd.releases_up(app.name, release_units.all_processes(app)),
        digest=found,
        # An older onebox recorded it with a capital letter.
        by_key=history.deployer(live).lower().startswith(KEY) if live else False,
        differences=integrity.differences(app, live),
    )
