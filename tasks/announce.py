"""The end of a run: where the apps are."""

import shlex
from collections.abc import Generator, Iterator, Sequence

from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations import certbot, postgresql, release
from operations.certbot import Lineages
from operations.release import PROGRAM
from settings import VM
from settings.app import App


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
    addresses(
        name="See that the apps answer",
        apps=vm.chosen(host.data.get("app")),
        known=[app.name for app in vm.apps],
    )


@operation()
def addresses(apps: list[App], known: list[str]) -> Generator[StringCommand, None, None]:
    """Print the addresses of apps that answer, and change nothing; fail if one doesn't, was not
    released in this run, or got no certificate. Apps that are not `known` are named."""
    if not state.is_executing:
        return
    failed, without = release.failed(host), certbot.failed(host)
    problems = [f"Not released: {', '.join(failed)}. Why is told above."] if failed else []
    if unset := postgresql.failed(host):
        problems.append(f"The database is not as it should be: {', '.join(unset)}. See above.")
    problems += _certificates(apps, without)
    released = [app for app in apps if app.name not in {*failed, *without}]
    if released and (silent := host.get_fact(Silent, apps=[app.name for app in released])):
        problems.append(silent)
    else:
        for app in released:
            logger.info(f"{host.print_prefix}https://{app.domains[0]}/")
    for left in release.abandoned(host, known):
        logger.warning(f"{host.print_prefix}{left.what} {left.how}.")
    if problems:
        yield StringCommand(f"echo {shlex.quote(chr(10).join(problems))} >&2; false")


def _certificates(apps: Sequence[App], failures: dict[str, str]) -> Iterator[str]:
    """Yield what certbot did not get, and how the apps are served until then."""
    without = [app for app in apps if app.name in failures]
    lineages = host.get_fact(Lineages) if without else {}
    for app in without:
        if lineage := lineages.get(app.name):
            meanwhile = f"{app.name} answers at https://{lineage.domains[0]}/"
        elif app.allow_http:
            meanwhile = f"{app.name} is served without encryption, at http://{app.domains[0]}/"
        else:
            meanwhile = f"nginx answers for {app.name} with 503"
        yield f"{failures[app.name]} Until then {meanwhile}."
    if account := failures.get(""):
        yield account
