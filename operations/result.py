"""The result of a run: the addresses of apps that respond, and what failed."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Sequence

from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations import certbot, release
from operations.certbot import Lineages
from operations.postgresql import databases
from operations.release import PROGRAM
from settings.app import App


class Unhealthy(FactBase[str]):
    """What is wrong with the apps, requested through nginx on the server; "" if all respond.

    onebox-release retries: nginx needs a moment to apply a reload.
    """

    def command(self, apps: list[str]) -> str:
        """Return one command for all apps."""
        return "; ".join(f"{PROGRAM} check {app} 2>&1 || true" for app in apps)

    @staticmethod
    def default() -> str:
        """Return that all respond."""
        return ""


@operation()
def report(apps: list[App], known: list[str]) -> Generator[StringCommand, None, None]:
    """Print the addresses of apps that respond; fail if a step failed for an app or one is down.

    It changes nothing. Apps on the server that are not `known` are reported, too.
    """
    if not state.is_executing:
        return
    without_release, without_certificate = release.failed(host), certbot.failed(host)
    problems = [*_failures(without_release), *_certificates(apps, without_certificate)]
    released = [app for app in apps if app.name not in {*without_release, *without_certificate}]
    names = [app.name for app in released]
    if released and (unhealthy := host.get_fact(Unhealthy, apps=names)):
        problems.append(unhealthy)
    else:
        for app in released:
            logger.info(f"{host.print_prefix}https://{app.domains[0]}/")
    for abandoned in release.abandoned(host, known):
        logger.warning(f"{host.print_prefix}{abandoned.what} {abandoned.how}.")
    if problems:
        yield StringCommand(f"echo {shlex.quote(chr(10).join(problems))} >&2; false")


def _failures(without_release: list[str]) -> Iterator[str]:
    if without_release:
        yield f"Not released: {', '.join(without_release)}. See the reason above."
    if without_database := databases.failed(host):
        yield f"Database not set up: {', '.join(without_database)}. See the reason above."


def _certificates(apps: Sequence[App], failures: dict[str, str]) -> Iterator[str]:
    """Yield why apps have no certificate, and how they are served until they have one."""
    without = [app for app in apps if app.name in failures]
    lineages = host.get_fact(Lineages) if without else {}
    for app in without:
        if lineage := lineages.get(app.name):
            meanwhile = f"{app.name} is served at https://{lineage.domains[0]}/"
        elif app.allow_http:
            meanwhile = f"{app.name} is served without encryption, at http://{app.domains[0]}/"
        else:
            meanwhile = f"nginx responds with 503 for {app.name}"
        yield f"{failures[app.name]} Until then {meanwhile}."
    if account := failures.get(""):
        yield account
