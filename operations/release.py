"""A release of an app: sent, built and switched to by our program on the server."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Collection, Generator, Iterator
from typing import Any

from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.api.state import State

from operations.artifact import Artifact
from operations.difference import Difference, mends
from operations.lock import patience

PROGRAM = "/usr/local/bin/onebox-release"
ABANDONED = "is on the server, and the inventory does not have it"
LIVE = "live"  # in place of an archive's digest
KEEP = "which `--data code=keep` keeps"
WITHOUT_KEEP = "Fix: deploy without --data code=keep."
# What came of the releases of this run, by host and app.
outcomes: dict[tuple[str, str], OperationMeta] = {}


def failed(host: Host) -> list[str]:
    """Return the apps that this run could not release on a host, as far as it has come."""
    return [
        app
        for (name, app), outcome in outcomes.items()
        if name == host.name and outcome.is_complete() and outcome.did_error()
    ]


class Plan(FactBase[dict[str, Any] | None]):
    """Which release an archive would become, which one is live, and which are up; None where
    nothing was deployed yet."""

    def command(self, app: str, digest: str) -> str:
        """Return the command."""
        return f"{PROGRAM} plan {app} {digest} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, Any] | None:
        """Return the plan."""
        data: dict[str, Any] = json.loads("".join(output))["data"]
        return data


class Deployed(FactBase[list[str]]):
    """The apps that are on the server, in the inventory or not."""

    def command(self) -> str:
        """Return the command."""
        return "for file in /etc/onebox/*.json; do [ -e $file ] && basename $file .json; done; true"

    @staticmethod
    def default() -> list[str]:
        """Return what a host has that nothing was deployed to."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the names."""
        return output


def abandoned(host: Host, apps: Collection[str]) -> list[Difference]:
    """Return the apps on a host that its inventory no longer has."""
    deployed: list[str] = host.get_fact(Deployed)
    return [
        Difference(f"app {name}", f"{ABANDONED}: `fab remove --app {name}` removes it")
        for name in deployed
        if name not in apps
    ]


@operation()
def live(
    app: str, artifact: Artifact | None, credentials: HiddenValue
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make this archive, with the configuration that stands on the server, the live release.

    Without an archive it is the live release's own. `credentials` are for the installation of its
    packages alone, and travel on standard input.
    """
    plan = host.get_fact(Plan, app=app, digest=artifact.digest if artifact else LIVE)
    if not artifact:
        yield from _kept(app, plan, credentials)
        return
    found = list(_differences(app, plan))
    if not found:
        return
    path = shlex.quote(f"/var/lib/onebox/{app}/incoming/{artifact.digest}.tar.gz")
    send = StringCommand(
        f"base64 -d > {path}.new && mv {path}.new {path}",
        _stdin=base64.encodebytes(artifact.content).decode(),
    )
    yield mends(send, *found)
    yield FunctionCommand(_deploy, (app, artifact.digest, credentials), {})


def _kept(
    app: str, plan: dict[str, Any] | None, credentials: HiddenValue
) -> Generator[FunctionCommand, None, None]:
    """Release the live release's code again, where its configuration or state differs."""
    digest = plan.get("digest") if plan else None
    if not digest:
        serving = plan and plan["live"]
        missing = f"the archive of release {serving} is gone" if serving else "nothing is live"
        yield FunctionCommand(_refuse, (f"{app}: no code to keep, {missing}. {WITHOUT_KEEP}",), {})
    elif found := list(_differences(app, plan)):
        yield mends(FunctionCommand(_deploy, (app, digest, credentials), {}), *found)


def _refuse(state: State, host: Host, why: str) -> bool:  # noqa: ARG001 - pyinfra's signature
    logger.error(f"{host.print_prefix}{why}")
    return False


def reverts_a_key(plan: dict[str, Any] | None) -> bool:
    """Tell whether a deploy replaces code that a deploy key brought by other code."""
    if not plan or not plan["live"] or not plan["release"] or not plan.get("by_key"):
        return False
    wanted, serving = (name.split("-")[0] for name in (plan["release"], plan["live"]))
    return bool(wanted != serving)


def _differences(app: str, plan: dict[str, Any] | None) -> Iterator[Difference]:
    """Yield how what runs differs from what the repository has."""
    if plan is None or plan["live"] is None:
        yield Difference(f"app {app}", "has no live release")
        return
    wanted, live = plan["release"], plan["live"]
    if wanted != live:
        same = wanted.split("-")[0] == live.split("-")[0]
        how = "has another configuration" if same else f"is live, not {wanted}"
        if reverts_a_key(plan):
            how += f"; a deploy key brought its code, {KEEP}"
        yield Difference(f"release {live}", how)
    if live not in plan["up"]:
        yield Difference(f"release {live}", "is not up")
    for release in plan["up"]:
        if release != live:
            yield Difference(f"release {release}", "is up beside the live one")
    for what, how in plan.get("differences", []):  # an older program doesn't look
        yield Difference(what, how)


def _deploy(state: State, host: Host, app: str, digest: str, credentials: HiddenValue) -> bool:  # noqa: ARG001 - pyinfra's signature
    """Run the switch, and let its progress be read line by line."""
    options = ["--wait", str(patience(host))]
    options += ["--allow-incompatible"] * bool(host.data.get("allow_incompatible"))
    options += ["--credentials"] * bool(credentials.unmask())
    done, _ = host.run_shell_command(
        StringCommand(PROGRAM, "deploy", app, digest, *options),
        print_output=True,
        _stdin=credentials.unmask() or None,
        _sudo=bool(host.data.get("_sudo")),
    )
    return done
