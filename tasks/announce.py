"""The end of a run: where the apps are."""

import shlex
from collections.abc import Generator

from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.release import PROGRAM
from settings import VM


class Silent(FactBase[str]):
    """What is wrong with the apps, asked through nginx on the server itself; nothing if all
    answer. nginx takes a moment to serve what it was just told to reload."""

    def command(self, apps: list[str]) -> str:
        """Return one command for all apps."""
        return "; ".join(f"{PROGRAM} check {app} 2>&1 || true" for app in apps)

    @staticmethod
    def default() -> str:
        """Return that nothing is wrong."""
        return ""


@deploy("Done")
def announce() -> None:
    """Print each app's address."""
    vm: VM = host.data.vm
    addresses(name="See that the apps answer", vm=vm)


@operation()
def addresses(vm: VM) -> Generator[StringCommand, None, None]:
    """Print the addresses of apps that answer, and change nothing; fail if one doesn't."""
    if not state.is_executing:
        return
    if problem := host.get_fact(Silent, apps=[app.name for app in vm.apps]):
        yield StringCommand(f"echo {shlex.quote(problem)} >&2; false")
    for app in vm.apps:
        logger.info(f"{host.print_prefix}https://{app.domains[0]}/")
