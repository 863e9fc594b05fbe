"""The end of a run: where the apps are."""

import shlex
from collections.abc import Generator, Iterator, Sequence
from http import HTTPStatus

from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from app_settings import App
from operations import certbot, postgresql, release
from operations.certbot import Lineages
from operations.release import PROGRAM
from settings import VM

PLAIN = """
import http.client, sys
for domain in sys.argv[1:]:
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": domain})
        print(domain, connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        print(domain, 0)
"""


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


class Plain(FactBase[dict[str, int]]):
    """What nginx answers over HTTP without TLS, by domain; 0 where it doesn't."""

    def command(self, domains: list[str]) -> str:
        """Return one command for all domains."""
        return f"python3 -c {shlex.quote(PLAIN)} {shlex.join(domains)}"

    @staticmethod
    def default() -> dict[str, int]:
        """Return what an untouched host answers."""
        return {}

    def process(self, output: list[str]) -> dict[str, int]:
        """Return the status by domain."""
        return {domain: int(status) for domain, status in map(str.split, output)}


@deploy("Done")
def announce() -> None:
    """Print each app's address."""
    vm: VM = host.data.vm
    addresses(name="See that the apps answer", apps=vm.chosen(host.data.get("app")))


@operation()
def addresses(apps: list[App]) -> Generator[StringCommand, None, None]:
    """Print the addresses of apps that answer, and change nothing; fail if one doesn't, was not
    released in this run, or got no certificate."""
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
    if problems:
        yield StringCommand(f"echo {shlex.quote(chr(10).join(problems))} >&2; false")


def _certificates(apps: Sequence[App], failures: dict[str, str]) -> Iterator[str]:
    """Yield what certbot did not get, and how the apps are served until then."""
    without = [app for app in apps if app.name in failures]
    lineages = host.get_fact(Lineages) if without else {}
    bare = [app.domains[0] for app in without if app.name not in lineages]
    answers = host.get_fact(Plain, domains=bare) if bare else {}
    for app in without:
        if lineage := lineages.get(app.name):
            meanwhile = f"{app.name} answers at https://{lineage.domains[0]}/"
        elif answers.get(app.domains[0]) == HTTPStatus.SERVICE_UNAVAILABLE:
            meanwhile = f"nginx answers for {app.name} with 503"
        else:
            meanwhile = f"{app.name} is served without encryption, at http://{app.domains[0]}/"
        yield f"{failures[app.name]} Until then {meanwhile}."
    if account := failures.get(""):
        yield account
