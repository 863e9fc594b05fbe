"""What a person does by hand. `fab --list` lists it, `fab --help status` explains one command.

Each is the server's own program, onebox-release, asked over SSH: at the server you can say the
same. Exit codes: 0 done or nothing to do, 1 failed, 2 drift, 3 locked by another, 4 refused.
"""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from commands import deploy as deploys
from commands import submit as submits
from commands.inventory import PROJECT, REFUSED
from commands.server import FAILED, Server
from operations.artifact import pack

ON = {"on": "the server's address, where the inventory has several"}
APP = {"app": "the app's name, where the server has several", **ON}
JSON = {"json": "print one JSON document, for programs"}


@task(help={**APP, **JSON})
def status(_: Any, *, app: str = "", on: str = "", json: bool = False) -> None:
    """Show on one screen how an app and its server are.

    Example: fab status --app links
    """
    server = Server.of(on)
    server.program("status", server.app(app).name, *_json(json), terminal=not json)


@task(help={**APP, "release": "one that `fab releases` lists; or the one before",
            "force": "even if the database has moved on without it"})  # fmt: skip
def rollback(
    _: Any, *, release: str = "", force: bool = False, app: str = "", on: str = ""
) -> None:
    """Go back to an earlier release, without a failed request.

    Example: fab rollback
    """
    server = Server.of(on)
    options = [release] * bool(release) + ["--force"] * force
    server.program("rollback", server.app(app).name, *options)


@task(help={**ON, "why": "the reason, told to whoever tries"})
def hold(_: Any, why: str, *, on: str = "") -> None:
    """Keep deploys away from a server.

    Example: fab hold "moving the office"
    """
    who = f"{getpass.getuser()} at {socket.gethostname()}"
    Server.of(on).program("hold", why, "--who", who)


@task(help=ON)
def unhold(_: Any, *, on: str = "") -> None:
    """Let deploys in again.

    Example: fab unhold
    """
    Server.of(on).program("unhold")


@task(help=ON)
def verify(_: Any, *, on: str = "") -> None:
    """Look at a deployed server with other eyes than the deploy's, and change nothing.

    Example: fab verify
    """
    command = [sys.executable, "-m", "pytest", "--quiet", "tests/host"]
    limited = {**os.environ, "ONEBOX_LIMIT": Server.of(on).address}
    result = subprocess.run(command, cwd=PROJECT, env=limited, check=False)
    if result.returncode:
        raise Exit(code=REFUSED if result.returncode == REFUSED else FAILED)


@task(help={**ON, "digest": "what the artifact must be, to ship what another server runs"})
def deploy(_: Any, *, digest: str = "", on: str = "") -> None:
    """Deploy, verify, and put the release back if its checks fail: for when nobody watches.

    Example: fab deploy
    """
    _end(deploys.deploy(Server.of(on), digest))


@task(help=ON)
def digest(_: Any, *, on: str = "") -> None:
    """Print what the apps' folders are, as `fab deploy --digest` wants it.

    Example: fab digest
    """
    print(",".join(pack(app.source).digest for app in Server.of(on).vm.apps))


@task(help={"app": "the app's name", "source": "its folder", "to": "the server's address"})
def submit(_: Any, app: str, source: str, to: str) -> None:
    """Release an app with a deploy key, which can do nothing else.

    Example: fab submit --app links --source app --to 203.0.113.10
    """
    _end(submits.submit(app, source, to, os.environ.get("ONEBOX_SSH_CONFIG")))


def _end(code: int) -> None:
    if code:
        raise Exit(code=code)


def _json(wanted: bool) -> list[str]:  # noqa: FBT001 - a flag passed on
    return ["--json"] * wanted
