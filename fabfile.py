"""Commands for operating servers. `fab --list` lists them, `fab --help status` explains one.

Most run onebox-release on the server over SSH; there, you can run it directly. Exit codes: 0 done
or nothing to do, 1 failed, 2 drift, 3 locked by another deploy, 4 refused.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from secrets import token_hex
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from commands import deploy as deploys
from commands import submit as submits
from commands.forwarded import APP, FORWARDED, JSON, ON, REMOVE, RUN, declared, forwarded, who
from commands.server import Server
from operations.artifact import pack
from operations.lock import WAIT
from settings.exit_codes import FAILED, REFUSED

# fab's own option makes only ctx.run a dry run, which these commands don't use.
if {"-R", "--dry"} & set(sys.argv):
    raise Exit(
        "fab has no dry run here. To list what a deploy would change, run `fab drift` or\n"
        "`pyinfra inventory.py deploy.py --dry`.",
        REFUSED,
    )

WAITS = f"seconds to wait for another deploy (default: {WAIT}; 0 does not wait)"


# Those of the server's program, by the names that they have there.
globals().update({command.name: forwarded(command) for command in FORWARDED})


@declared(RUN)
def run(_: Any, command: str, *, app: str = "", on: str = "") -> None:
    """Send the command on standard input: sudo logs its arguments, which may hold a secret."""
    server, token = Server.of(on), token_hex(16)
    name = server.app(app).name
    server.program("run", name, "--put", token, stdin=command)
    server.program("run", name, "--take", token, terminal=True, interactive=True)


@task(help=APP)
def shell(_: Any, *, app: str = "", on: str = "") -> None:
    """Open a shell in the app's environment and sandbox.

    Example: fab shell
    """
    server = Server.of(on)
    server.program("run", server.app(app).name, terminal=True, interactive=True)


@task(help=ON)
def verify(_: Any, *, on: str = "") -> None:
    """Verify a deployed server independently (read-only).

    Example: fab verify
    """
    code = deploys.verify(Server.of(on))
    if code:
        raise Exit(code=REFUSED if code == REFUSED else FAILED)


@task(help={**ON, **JSON})
def preflight(_: Any, *, on: str = "", json: bool = False) -> None:
    """Check whether a server can take a deploy (read-only).

    Example: fab preflight
    """
    _inspect("preflight", on, json=json)


@task(help={**ON, **JSON})
def drift(_: Any, *, on: str = "", json: bool = False) -> None:
    """List how a server differs from the repository (read-only).

    Example: fab drift
    """
    _inspect("drift", on, json=json)


def _inspect(command: str, on: str, *, json: bool) -> None:
    """Inspect a server as a deploy would, and print the result."""
    from pyinfra.api.exceptions import PyinfraError  # here, as it takes half a second

    server = Server.of(on)
    try:
        found = import_module(f"commands.{command}").inspect(server.address, server.data)
    except PyinfraError as error:
        raise Exit(str(error), FAILED) from None
    print(found.document() if json else found)
    raise Exit(code=found.code)


@task(
    help={
        **ON,
        "digest": "the artifact's expected digest, to ship what another server runs",
        "wait": WAIT,
    }
)
def deploy(_: Any, *, digest: str = "", wait: int = 600, on: str = "") -> None:
    """Deploy unattended: verify the result, and roll back if the release's checks fail.

    Example: fab deploy
    """
    _exit_with(deploys.deploy(Server.of(on), digest, wait))


@task(help=ON)
def digest(_: Any, *, on: str = "") -> None:
    """Print the digests of the apps' folders, for `fab deploy --digest`.

    Example: fab digest
    """
    print(",".join(pack(app.source).digest for app in Server.of(on).vm.apps))


@task(
    help={
        "app": "the app's name",
        "source": "the app's folder",
        "to": "the server's address",
        "wait": WAIT,
    }
)
def submit(_: Any, app: str, source: str, to: str, *, wait: int = 600) -> None:
    """Release an app with a restricted deploy key.

    Example: fab submit --app links --source app --to 203.0.113.10
    """
    _exit_with(submits.submit(app, source, to, os.environ.get("ONEBOX_SSH_CONFIG"), wait))


@declared(REMOVE)
def remove(_: Any, *, yes: bool = False, dump: bool = True, app: str = "", on: str = "") -> None:
    """Ask for the app's name, unless `yes`; it may be removed from the inventory already."""
    server = Server.of(on)
    name = app or server.app().name
    if not yes:
        _confirm(name, server.address)
    server.program("remove", name, *REMOVE.line({"yes": True, "dump": dump, "who": who()}))
    if name in [known.name for known in server.vm.apps]:
        hint = f"Remove {name} from the inventory, or the next deploy creates it again."
        print(hint, file=sys.stderr)


def _confirm(name: str, address: str) -> None:
    """Ask for the app's name. Raises Exit if it isn't typed."""
    if not sys.stdin.isatty():
        raise Exit(f"No terminal for the confirmation. To remove {name} without it: --yes", REFUSED)
    print(f"This deletes {name} and all that belongs to it from {address}.")
    if input("Type the app's name to continue: ") != name:
        raise Exit("Nothing was removed.", REFUSED)


def _exit_with(code: int) -> None:
    if code:
        raise Exit(code=code)
