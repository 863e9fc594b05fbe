"""A release of an app: sent from here; built and switched to by onebox-release on the server."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Collection, Generator, Iterator

from onebox_release.app import PROGRAM as PROGRAM
from onebox_release.core.plan import LIVE, Plan
from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from operations.artifact import Artifact
from operations.difference import Difference, fixes
from operations.facts import Names
from operations.lock import wait_seconds
from operations.outcomes import Outcomes, failed_apps

ABANDONED = "is on the server but not in the inventory"
KEEP = "add --data code=keep to keep it"
WITHOUT_KEEP = "Fix: deploy without --data code=keep."
outcomes: Outcomes = {}  # of `deploy`


def failed(host: Host) -> list[str]:
    """Return the apps whose release failed on a host so far in this run."""
    return failed_apps(outcomes, host)


class PlanFact(FactBase[Plan | None]):
    """What a deploy of an archive would do; None before the first deploy."""

    def command(self, app: str, digest: str) -> str:
        """Return the command."""
        return f"{PROGRAM} plan {app} {digest} 2>/dev/null || true"

    def process(self, output: list[str]) -> Plan | None:
        """Return the plan."""
        return Plan.of(json.loads("".join(output))["data"])


class DeployedApps(Names):
    """The apps on the server, in the inventory or not."""

    def command(self) -> str:
        """Return the command."""
        return "for file in /etc/onebox/*.json; do [ -e $file ] && basename $file .json; done; true"


def abandoned(host: Host, apps: Collection[str]) -> list[Difference]:
    """Return the apps on a host that are no longer in the inventory."""
    deployed: list[str] = host.get_fact(DeployedApps)
    return [
        Difference(f"app {name}", f"{ABANDONED}: `fab remove --app {name}` removes it")
        for name in deployed
        if name not in apps
    ]


@operation()
def deploy(
    app: str, artifact: Artifact | None, credentials: HiddenValue
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make this archive, with the server's current configuration, the live release.

    Without an archive, the live release's own is used. `credentials` are only for installing its
    packages, and are sent on standard input.
    """
    plan = host.get_fact(PlanFact, app=app, digest=artifact.digest if artifact else LIVE)
    if not artifact:
        yield from _deploy_kept_code(app, plan, credentials)
        return
    differences = list(_differences(app, plan))
    if not differences:
        return
    path = shlex.quote(f"/var/lib/onebox/{app}/incoming/{artifact.digest}.tar.gz")
    send = StringCommand(
        f"base64 -d > {path}.new && mv {path}.new {path}",
        _stdin=base64.encodebytes(artifact.content).decode(),
    )
    yield fixes(send, *differences)
    yield FunctionCommand(_run_deploy, (app, artifact.digest, credentials), {})


def _deploy_kept_code(
    app: str, plan: Plan | None, credentials: HiddenValue
) -> Generator[FunctionCommand, None, None]:
    """Release the live release's code again if its configuration or state differs."""
    if not plan or not plan.digest:
        current = plan and plan.live
        missing = f"the archive of release {current} is gone" if current else "nothing is live"
        yield FunctionCommand(_refuse, (f"{app}: no code to keep, {missing}. {WITHOUT_KEEP}",), {})
    elif differences := list(_differences(app, plan)):
        command = FunctionCommand(_run_deploy, (app, plan.digest, credentials), {})
        yield fixes(command, *differences)


def _refuse(state: State, host: Host, why: str) -> bool:  # noqa: ARG001 - pyinfra's signature
    logger.error(f"{host.print_prefix}{why}")
    return False


def _differences(app: str, plan: Plan | None) -> Iterator[Difference]:
    """Yield how the running release differs from the inventory and the app's source."""
    if plan is None or plan.live is None:
        yield Difference(f"app {app}", "has no live release")
        return
    live = plan.live
    if plan.release != live:
        other = f"is live, not {plan.release}"
        how = "has an outdated configuration" if plan.keeps_code else other
        if plan.reverts_a_key:
            how += f"; a deploy key released its code: {KEEP}"
        yield Difference(f"release {live}", how)
    if live not in plan.up:
        yield Difference(f"release {live}", "is not running")
    for release in plan.up:
        if release != live:
            yield Difference(f"release {release}", "is running beside the live one")
    for what, how in plan.differences:
        yield Difference(what, how)


def _run_deploy(state: State, host: Host, app: str, digest: str, credentials: HiddenValue) -> bool:  # noqa: ARG001 - pyinfra's signature
    """Run the deploy on the server, and print its progress line by line."""
    options = ["--wait", str(wait_seconds(host))]
    options += ["--allow-incompatible"] * bool(host.data.get("allow_incompatible"))
    options += ["--credentials"] * bool(credentials.unmask())
    done, _ = host.run_shell_command(
        StringCommand(PROGRAM, "deploy", app, digest, *options),
        print_output=True,
        _stdin=credentials.unmask() or None,
        _sudo=bool(host.data.get("_sudo")),
    )
    return done
