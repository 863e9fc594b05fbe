"""What a person does by hand. `fab --list` lists it, `fab --help status` explains one command.

Most are the server's own program, onebox-release, asked over SSH: at the server you can say the
same. Exit codes: 0 done or nothing to do, 1 failed, 2 drift, 3 locked by another, 4 refused.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from importlib import import_module
from secrets import token_hex
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from commands import deploy as deploys
from commands import submit as submits
from commands.inventory import REFUSED
from commands.server import FAILED, Server
from operations.artifact import pack

# fab's own option, which echoes what ctx.run would do: it would hold back none of what follows.
if {"-R", "--dry"} & set(sys.argv):
    raise Exit(
        "fab has no dry run here. `fab drift` says what a deploy would change, and so does\n"
        "`pyinfra inventory.py deploy.py --dry`.",
        REFUSED,
    )

ON = {"on": "the server's address, where the inventory has several"}
WAIT = "seconds to wait for another deploy (default: 600; 0 does not wait)"
APP = {"app": "the app's name, where the server has several", **ON}
JSON = {"json": "print one JSON document, for programs"}


@task(help={**APP, **JSON})
def status(_: Any, *, app: str = "", on: str = "", json: bool = False) -> None:
    """Show on one screen how an app and its server are.

    Example: fab status --app links
    """
    _show("status", app, on, json=json)


@task(help={**APP, **JSON})
def releases(_: Any, *, app: str = "", on: str = "", json: bool = False) -> None:
    """List the releases that can be gone back to.

    Example: fab releases
    """
    _show("releases", app, on, json=json)


@task(help={**APP, **JSON})
def history(_: Any, *, app: str = "", on: str = "", json: bool = False) -> None:
    """List what was deployed when, and what came of it.

    Example: fab history
    """
    _show("history", app, on, json=json)


@task(help={**APP, **JSON, "follow": "go on as more is written", "lines": "so many, the newest",
            "since": '"15m", "2h", "3d" or "2026-11-20 07:00" (UTC)',
            "grep": "lines with this regular expression alone",
            "request": "lines with this request's id alone"})  # fmt: skip
def logs(
    _: Any, *, follow: bool = False, since: str = "1h", grep: str = "", request: str = "",
    lines: int = 200, app: str = "", on: str = "", json: bool = False,
) -> None:  # fmt: skip
    """Show what the app, nginx and PostgreSQL wrote, in one order of time.

    Example: fab logs --since 1d --request 5b1f5c6a0e0d4c3f9a7e2b8d1c4f6a90
    """
    if follow and json:
        raise Exit("--json is one document, which --follow never ends.", REFUSED)
    options = {"since": since, "grep": grep, "request": request, "lines": str(lines)}
    arguments = [f"--{key}={value}" for key, value in options.items()]
    _show("logs", app, on, *arguments, *["--follow"] * follow, json=json)


@task(help={**APP, "release": "one that `fab releases` lists; or the one before",
            "force": "if altered, the database moved on, or memory is short, too"})  # fmt: skip
def rollback(
    _: Any, *, release: str = "", force: bool = False, app: str = "", on: str = ""
) -> None:
    """Go back to an earlier release, without a failed request.

    Example: fab rollback
    """
    _ask("rollback", app, on, *[release] * bool(release), *["--force"] * force)


@task(help=APP)
def restart(_: Any, *, app: str = "", on: str = "") -> None:
    """Start the live release anew, without a failed request.

    Example: fab restart --app links
    """
    _ask("restart", app, on)


@task(help={**APP, "switch": "on or off"})
def maintenance(_: Any, switch: str, *, app: str = "", on: str = "") -> None:
    """Show visitors a page (503, Retry-After) in the app's place, until it is off again.

    It stays on over deploys and reboots; the app runs on behind it.

    Example: fab maintenance on
    """
    _ask("maintenance", app, on, switch)


@task(help=APP)
def pause(_: Any, *, app: str = "", on: str = "") -> None:
    """Stop an app's processes and timers, so that nothing writes; over reboots too.

    A deploy starts the processes again, and `fab resume` all of it.

    Example: fab pause
    """
    _ask("pause", app, on)


@task(help=APP)
def resume(_: Any, *, app: str = "", on: str = "") -> None:
    """Start the processes and timers of a paused app again.

    Example: fab resume
    """
    _ask("resume", app, on)


@task(help={**APP, "command": "what a shell would run"})
def run(_: Any, command: str, *, app: str = "", on: str = "") -> None:
    """Run a command in the app's environment and sandbox, beside the live release.

    Example: fab run "python -m links.worker --once"
    """
    server, token = Server.of(on), token_hex(16)
    name = server.app(app).name
    # On standard input: sudo logs what it runs, and the command may hold a secret.
    server.program("run", name, "--put", token, text=command)
    server.program("run", name, "--take", token, terminal=True, given=True)


@task(help=APP)
def shell(_: Any, *, app: str = "", on: str = "") -> None:
    """Open a shell in the app's environment and sandbox.

    Example: fab shell
    """
    _type("run", app, on)


@task(help={**APP, "owner": "as the schema's owner, who may change it"})
def psql(_: Any, *, app: str = "", on: str = "", owner: bool = False) -> None:
    """Ask the app's database, as the app's own role.

    Example: echo 'select count(*) from links' | fab psql
    """
    _type("psql", app, on, *["--owner"] * owner)


@task(help={**ON, "why": "the reason, told to whoever tries"})
def hold(_: Any, why: str, *, on: str = "") -> None:
    """Keep deploys away from a server.

    Example: fab hold "moving the office"
    """
    Server.of(on).program("hold", why, "--who", _who())


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
    code = deploys.checks(Server.of(on))
    if code:
        raise Exit(code=REFUSED if code == REFUSED else FAILED)


@task(help={**ON, **JSON})
def preflight(_: Any, *, on: str = "", json: bool = False) -> None:
    """Say whether a server can take a deploy, and change nothing.

    Example: fab preflight
    """
    _look("preflight", on, json=json)


@task(help={**ON, **JSON})
def drift(_: Any, *, on: str = "", json: bool = False) -> None:
    """Say what on a server differs from what the repository wants, and change nothing.

    Example: fab drift
    """
    _look("drift", on, json=json)


def _look(command: str, on: str, *, json: bool) -> None:
    """Look at a server as a deploy would, and print what was found."""
    from pyinfra.api.exceptions import PyinfraError  # here: it takes half a second

    server = Server.of(on)
    try:
        found = import_module(f"commands.{command}").look(server.address, server.data)
    except PyinfraError as error:
        raise Exit(str(error), FAILED) from None
    print(found.document() if json else found)
    raise Exit(code=found.code)


@task(
    help={
        **ON,
        "digest": "what the artifact must be, to ship what another server runs",
        "wait": WAIT,
    }
)
def deploy(_: Any, *, digest: str = "", wait: int = 600, on: str = "") -> None:
    """Deploy, verify, and put the release back if its checks fail: for when nobody watches.

    Example: fab deploy
    """
    _end(deploys.deploy(Server.of(on), digest, wait))


@task(help=ON)
def digest(_: Any, *, on: str = "") -> None:
    """Print what the apps' folders are, as `fab deploy --digest` wants it.

    Example: fab digest
    """
    print(",".join(pack(app.source).digest for app in Server.of(on).vm.apps))


@task(
    help={
        "app": "the app's name",
        "source": "its folder",
        "to": "the server's address",
        "wait": WAIT,
    }
)
def submit(_: Any, app: str, source: str, to: str, *, wait: int = 600) -> None:
    """Release an app with a deploy key, which can do nothing else.

    Example: fab submit --app links --source app --to 203.0.113.10
    """
    _end(submits.submit(app, source, to, os.environ.get("ONEBOX_SSH_CONFIG"), wait))


@task(help={**APP, "yes": "don't ask", "dump": "keep a last copy of its data"})
def remove(_: Any, *, yes: bool = False, dump: bool = True, app: str = "", on: str = "") -> None:
    """Take an app off a server, with all that is its own; a last copy of its data stays.

    Cut off half-way, it is completed by the same command.

    Example: fab remove --app links
    """
    server = Server.of(on)
    name = app or server.app().name  # one that the inventory has no more can be removed, too
    if not yes:
        _confirm(name, server.address)
    options = [] if dump else ["--no-dump"]
    server.program("remove", name, "--yes", "--who", _who(), *options)
    if name in [known.name for known in server.vm.apps]:
        told = f"Take {name} out of the inventory, or the next deploy makes it anew."
        print(told, file=sys.stderr)


def _show(command: str, app: str, on: str, *arguments: str, json: bool) -> None:
    """Print what a command tells: on a terminal for a person, or as one JSON document."""
    server = Server.of(on)
    options = [*arguments, *["--json"] * json]
    server.program(command, server.app(app).name, *options, terminal=not json)


def _ask(command: str, app: str, on: str, *arguments: str) -> None:
    server = Server.of(on)
    server.program(command, server.app(app).name, *arguments)


def _type(command: str, app: str, on: str, *arguments: str) -> None:
    """Run a command that reads what is typed or given here."""
    server = Server.of(on)
    server.program(command, server.app(app).name, *arguments, terminal=True, given=True)


def _confirm(name: str, address: str) -> None:
    """Have the app's name typed. Raises Exit where it isn't."""
    if not sys.stdin.isatty():
        raise Exit(f"Nobody is here to ask. To remove {name} all the same: --yes", REFUSED)
    print(f"This deletes {name} and all that is its own from {address}.")
    if input("Type the app's name to go on: ") != name:
        raise Exit("Nothing was done.", REFUSED)


def _who() -> str:
    return f"{getpass.getuser()} at {socket.gethostname()}"


def _end(code: int) -> None:
    if code:
        raise Exit(code=code)
