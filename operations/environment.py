"""What a server is, staging or production say: it remembers, and lets no other settings in."""

from __future__ import annotations

import sys
from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.files import File, Folder, make, write

PATH = "/etc/onebox/environment"
REFUSED = 4  # exit code
UNNAMED = "a server without an environment"
WRONG = (
    "{host} is {there}, and these settings are for {wanted}. Nothing was changed. Correct `address`"
    " or `environment`; if the server is to become another, write it down there:\n"
    "  {command}"
)


class Remembered(FactBase[str | None]):
    """The environment that a server was first deployed as, "" if that had no name; None if it
    wasn't deployed to."""

    def command(self) -> str:
        """Return the command."""
        return f"cat {PATH} 2>/dev/null || ls /etc/onebox/*.json >/dev/null 2>&1 && echo || true"

    def process(self, output: list[str]) -> str | None:
        """Return the name."""
        return "".join(output).strip()


@operation()
def remembered(environment: str | None) -> Generator[StringCommand, None, None]:
    """Have the server remember its environment; exit with code 4 where it remembers another."""
    there = host.get_fact(Remembered)
    wanted = environment or ""
    if there == wanted or (there is None and not wanted):
        return
    if there is not None:
        names = (there or UNNAMED, wanted or "none")
        command = f"echo {wanted} | sudo tee {PATH}" if wanted else f"sudo rm {PATH}"
        told = WRONG.format(host=host.name, there=names[0], wanted=names[1], command=command)
        logger.error(f"{host.print_prefix}{told}")
        sys.exit(REFUSED)
    yield make(Folder("/etc/onebox"))
    yield write(File(PATH, f"{wanted}\n"))
