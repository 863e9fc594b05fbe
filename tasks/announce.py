"""The end of a run: where the apps are."""

import shlex
from collections.abc import Generator

from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from app_settings import App
from operations import postgresql, release
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
    addresses(name="See that the apps answer", apps=vm.chosen(host.data.get("app")))


@operation()
def addresses(apps: list[App]) -> Generator[StringCommand, None, None]:
    """Print the addresses of apps that answer, and change nothing; fail if one doesn't, or was
    not released in this run."""
    if not state.is_executing:
        return
    failed = release.failed(host)
    released = [app for app in apps if app.name not in failed]
    problems = [f"Not released: {', '.join(failed)}. Why is told above."] if failed else []
    if unset := postgresql.failed(host):
        problems.append(f"The database is not as it should be: {', '.join(unset)}. See above.")
    if released and (silent := host.get_fact(Silent, apps=[app.name for app in released])):
        problems.append(silent)
    else:
        for app in released:
            logger.info(f"{host.print_prefix}https://{app.domains[0]}/")
    if problems:
        yield StringCommand(f"echo {shlex.quote(' '.join(problems))} >&2; false")
