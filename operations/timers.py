"""An app's timers that are no longer in the inventory."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.facts import Names

UNITS = "/etc/systemd/system"


class InstalledTimers(Names):
    """The names of an app's timers on the server."""

    def command(self, app: str) -> str:
        """Return the command; a timer's name has no dash, so links-x's timers are not links's."""
        return (
            f"find {UNITS} -maxdepth 1 -name 'onebox-timer-{app}-*.timer' -printf '%f\\n'"
            f" | sed -n 's/^onebox-timer-{app}-\\([a-z0-9]*\\)\\.timer$/\\1/p'"
        )


@operation()
def remove(
    app: str, expected: Sequence[str], processes: Sequence[str] = ()
) -> Generator[StringCommand, None, None]:
    """Stop and remove an app's timers other than the expected ones; a run under way finishes.

    A unit that one of the app's processes uses now is kept.
    """
    installed: list[str] = host.get_fact(InstalledTimers, app=app)
    for timer in [timer for timer in installed if timer not in expected]:
        unit = f"onebox-timer-{app}-{timer}"
        files = [f"{unit}.timer", f"{unit}.service"]
        files += [f"{app}-{timer}@.service"] if timer not in processes else []
        command = StringCommand(
            f"systemctl disable --quiet --now {unit}.timer"
            f" && rm -f {shlex.join(f'{UNITS}/{file}' for file in files)}"
            f" /var/lib/systemd/timers/stamp-{unit}.timer /var/lib/onebox/{app}/timers/{timer}.json"
            " && systemctl daemon-reload"
        )
        yield fixes(command, Difference(f"{unit}.timer", "belongs to no timer in the inventory"))
