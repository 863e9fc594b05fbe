"""The server's environment, such as staging or production, which a deploy must match."""

from __future__ import annotations

import sys
from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.files import File, Folder, make, write
from settings.exit_codes import REFUSED

PATH = "/etc/onebox/environment"
UNNAMED = "none"
MISMATCH = (
    "{host} has environment {current}, and the inventory has {expected}. Nothing was changed."
    " Correct `address` or `environment`; to change the server's environment, run on it:\n"
    "  {command}"
)


class RecordedEnvironment(FactBase[str | None]):
    """The environment of the server's first deploy; "" if it had none; None before any deploy."""

    def command(self) -> str:
        """Return the command."""
        return f"cat {PATH} 2>/dev/null || ls /etc/onebox/*.json >/dev/null 2>&1 && echo || true"

    def process(self, output: list[str]) -> str | None:
        """Return the name."""
        return "".join(output).strip()


@operation()
def check(environment: str | None) -> Generator[StringCommand, None, None]:
    """Record the environment at the first deploy; later, exit with code 4 if it differs."""
    current: str | None = host.get_fact(RecordedEnvironment)
    expected = environment or ""
    if current == expected or (current is None and not expected):
        return
    if current is not None:
        logger.error(f"{host.print_prefix}{_mismatch(host.name, current, expected)}")
        sys.exit(REFUSED)
    yield make(Folder("/etc/onebox"))
    yield write(File(PATH, f"{expected}\n"))


def _mismatch(name: str, current: str, expected: str) -> str:
    command = f"echo {expected} | sudo tee {PATH}" if expected else f"sudo rm {PATH}"
    return MISMATCH.format(
        host=name, current=current or UNNAMED, expected=expected or UNNAMED, command=command
    )
