"""The outcomes of operations that run once per app, where a failure must not stop other apps."""

from __future__ import annotations

from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta

Outcomes = dict[tuple[str, str], OperationMeta]  # by host and app


def failed_apps(outcomes: Outcomes, host: Host) -> list[str]:
    """Return the apps for which the operation failed on a host so far in this run."""
    return [
        app
        for (name, app), outcome in outcomes.items()
        if name == host.name and outcome.is_complete() and outcome.did_error()
    ]
