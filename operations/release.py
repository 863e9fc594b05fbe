"""A release of an app: sent, built and switched to by our program on the server."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Generator, Iterator
from typing import Any

from pyinfra import host
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.api.state import State

from operations.artifact import Artifact
from operations.difference import Difference, mends

PROGRAM = "/usr/local/bin/onebox-release"
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


@operation()
def live(
    app: str, artifact: Artifact, credentials: HiddenValue
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make this archive, with the configuration that stands on the server, the live release.

    `credentials` are for the installation of its packages alone, and travel on standard input.
    """
    plan = host.get_fact(Plan, app=app, digest=artifact.digest)
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


def _differences(app: str, plan: dict[str, Any] | None) -> Iterator[Difference]:
    """Yield how what runs differs from what the repository has."""
    if plan is None or plan["live"] is None:
        yield Difference(f"app {app}", "has no live release")
        return
    wanted, live = plan["release"], plan["live"]
    if wanted != live:
        same = wanted.split("-")[0] == live.split("-")[0]
        how = "has another configuration" if same else f"is live, not {wanted}"
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
    options = ["--allow-incompatible"] * bool(host.data.get("allow_incompatible"))
    options += ["--credentials"] * bool(credentials.unmask())
    done, _ = host.run_shell_command(
        StringCommand(PROGRAM, "deploy", app, digest, *options),
        print_output=True,
        _stdin=credentials.unmask() or None,
        _sudo=bool(host.data.get("_sudo")),
    )
    return done
