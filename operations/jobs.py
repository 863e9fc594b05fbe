"""An app's timers, without those that its settings no longer have."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.facts import Names

UNITS = "/etc/systemd/system"


class Scheduled(Names):
    """The names of an app's timers that are on the server."""

    def command(self, app: str) -> str:
        """Return the command. Another app's name may begin the same; a timer's has no dash."""
        return (
            f"find {UNITS} -maxdepth 1 -name 'onebox-job-{app}-*.timer' -printf '%f\\n'"
            f" | sed -n 's/^onebox-job-{app}-\\([a-z0-9]*\\)\\.timer$/\\1/p'"
        )


@operation()
def gone(
    app: str, wanted: Sequence[str], processes: Sequence[str] = ()
) -> Generator[StringCommand, None, None]:
    """Stop and remove an app's timers that are not wanted; one that runs is let finish. What is
    one of its processes now keeps that unit."""
    scheduled: list[str] = host.get_fact(Scheduled, app=app)
    for timer in [timer for timer in scheduled if timer not in wanted]:
        job = f"onebox-job-{app}-{timer}"
        files = [f"{job}.timer", f"{job}.service"]
        files += [f"{app}-{timer}@.service"] if timer not in processes else []
        command = StringCommand(
            f"systemctl disable --quiet --now {job}.timer"
            f" && rm -f {shlex.join(f'{UNITS}/{file}' for file in files)}"
            f" /var/lib/systemd/timers/stamp-{job}.timer /var/lib/onebox/{app}/jobs/{timer}.json"
            " && systemctl daemon-reload"
        )
        yield mends(command, Difference(f"{job}.timer", "is of no timer in the settings"))
