"""The command onebox-release, for root and for `fab`."""

from __future__ import annotations

import argparse
import fcntl
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, TypeAlias

from onebox_release.app import App
from onebox_release.core import (
    history,
    maintenance,
    pause,
    release,
    remove,
    sandbox,
    timers,
)
from onebox_release.core.plan import LIVE, plan
from onebox_release.core.switch import check_public
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import durable, lock, postgresql, reserve, systemd
from onebox_release.report import document, exit_code, log
from onebox_release.shell import keys, logs, status, submit, transient_unit
from onebox_release.shell.commands import COMMANDS, RUN, Command

EXAMPLES = """
Show the live release and those to roll back to:  onebox-release status links
Roll back to the previous release:                onebox-release rollback links

A deploy switches to a new release only when it is healthy.
Exit codes: 0 done or nothing to do, 1 failed, 3 another deploy is under way, 4 refused.
"""

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run = Callable[[App, argparse.Namespace], int | None]


def main() -> int:
    """Run one command and return its exit code; log its error to stderr."""
    arguments = _parser().parse_args()
    if os.geteuid():
        log("onebox-release must run as root: use sudo.")
        return ReleaseError.code
    return exit_code(lambda: _main(arguments))


def _main(arguments: argparse.Namespace) -> int:
    if "app" not in arguments:
        arguments.run(arguments)
        return 0
    app = App(arguments.app)
    app.parameters  # noqa: B018 - fails here if the app is unknown
    if arguments.in_unit and not arguments.inside:
        secret = sys.stdin.read() if "credentials" in arguments and arguments.credentials else ""
        is_removal = arguments.run is _remove
        if is_removal:
            if not arguments.yes:
                raise RefusedError(
                    f"This deletes {app.name} and all that belongs to it: add --yes."
                )
            lock.wait_until_free(arguments.wait, log)
        # After a removal, `recover` must not start the app again.
        return transient_unit.run(
            app,
            sys.argv[1:],
            recover=not is_removal,
            wait=arguments.wait,
            secret=secret,
            check=partial(_may_begin, arguments),
        )
    with _alone(app) if arguments.alone else nullcontext():
        try:
            return arguments.run(app, arguments) or 0
        finally:
            if arguments.in_unit:  # notify of the result now
                systemd.run_checks()


def _may_begin(arguments: argparse.Namespace) -> None:
    """Raise if a deploy may no longer start: it may have waited for hours."""
    if arguments.run is not _deploy:
        return
    if arguments.by_key:
        keys.check(arguments.by_key, arguments.app)
    elif reason := lock.hold_reason():
        raise LockedError(reason)


def _deploy(app: App, arguments: argparse.Namespace) -> None:
    _may_begin(arguments)
    if arguments.upload:
        submit.move_upload(app, arguments.upload, arguments.digest)
    app = app.with_parameters(by_key=bool(arguments.by_key))
    release.deploy(app, arguments.digest, consent=arguments.allow_incompatible)


def _rollback(app: App, arguments: argparse.Namespace) -> None:
    release.rollback(app, arguments.release, force=arguments.force)


def _timer(app: App, arguments: argparse.Namespace) -> None:
    timers.run(app, arguments.timer)


def _recover(app: App, _: argparse.Namespace) -> None:
    if pause.is_paused(app):  # at boot
        log(f"{app.name} is paused, so not started. Start it: onebox-release resume {app.name}")
        return
    release.recover(app)


def _plan(app: App, arguments: argparse.Namespace) -> None:
    print(document(app.name, asdict(plan(app, arguments.digest))))


def _check(app: App, _: argparse.Namespace) -> None:
    serving = app.live()
    if serving is None:
        raise ReleaseError(f"No release of {app.name} is live.")
    check_public(serving)


def _status(app: App, arguments: argparse.Namespace) -> None:
    found = status.gather(app)
    print(document(app.name, asdict(found)) if arguments.json else status.render(app.name, found))


def _releases(app: App, arguments: argparse.Namespace) -> None:
    _show(app, arguments, history.releases(app), history.render_releases)


def _history(app: App, arguments: argparse.Namespace) -> None:
    _show(app, arguments, history.read(app), history.render)


def _logs(app: App, arguments: argparse.Namespace) -> None:
    matches = logs.finder(arguments.grep, arguments.request)
    lines = logs.TAIL if arguments.follow else arguments.lines
    found = logs.read(app, since=arguments.since, matches=matches, newest=lines)
    if arguments.json:
        print(document(app.name, [asdict(line) for line in found]))
        return
    for line in found:
        print(line)
    if not found and not arguments.follow:
        log(f"No lines since {arguments.since}. Search further back, for example --since 7d.")
    with suppress(KeyboardInterrupt):  # the usual way to end it
        for line in logs.follow(app, matches) if arguments.follow else ():
            print(line, flush=True)


def _run(app: App, arguments: argparse.Namespace) -> int:
    if arguments.put:
        sandbox.store_command(app, arguments.put, sys.stdin.read())
        return 0
    command = (
        sandbox.take_command(app, arguments.take) if arguments.take else arguments.command or ""
    )
    return sandbox.run(app, command)


def _psql(app: App, arguments: argparse.Namespace) -> int:
    if app.parameters.database != "local":
        raise RefusedError(f"{app.name} has no database on this server.")
    role = f"{app.name}-migrate" if arguments.owner else app.name
    return 0 if postgresql.prompt(app.name, role=role) else ReleaseError.code


def _restart(app: App, _: argparse.Namespace) -> None:
    release.restart(app)


def _maintenance(app: App, arguments: argparse.Namespace) -> None:
    if arguments.switch == "on":
        maintenance.enable(app)
    else:
        maintenance.disable(app)


def _pause(app: App, _: argparse.Namespace) -> None:
    pause.pause(app)


def _resume(app: App, _: argparse.Namespace) -> None:
    pause.resume(app)
    release.recover(app)


def _remove(app: App, arguments: argparse.Namespace) -> None:
    who = arguments.who or _user()
    remove.remove(app, who, keep=arguments.dump)


def _show(app: App, arguments: argparse.Namespace, data: Any, render: Callable[[Any], str]) -> None:
    """Print data as text, or as JSON with --json."""
    print(document(app.name, data) if arguments.json else render(data))


@contextmanager
def _alone(app: App) -> Iterator[None]:
    """Hold the app's lock, which excludes other deploys, rollbacks and recoveries.

    The kernel releases it when the process exits. Raises LockedError after lock.WAIT seconds.
    """
    deadline = time.monotonic() + lock.WAIT
    with os.fdopen(os.open(app.lock, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    message = f"A deploy of {app.name} is under way. Gave up after {lock.WAIT} s."
                    raise LockedError(message) from None
                time.sleep(0.2)
        yield


def _hold(arguments: argparse.Namespace) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    who = arguments.who or _user()
    durable.write(lock.HOLD, json.dumps({"at": at, "who": who, "why": arguments.why}))
    log("Deploys to this server are blocked until `unhold`.")


def _user() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _unhold(_: argparse.Namespace) -> None:
    lock.HOLD.unlink(missing_ok=True)
    log("Deploys to this server are allowed.")


def _reserve(arguments: argparse.Namespace) -> None:
    if not arguments.check:
        reserve.apply()
    elif not reserve.is_applied():
        raise ReleaseError("PostgreSQL has no reserved disk blocks. Fix: onebox-release reserve")


RUNS: dict[str, Run] = {
    "status": _status, "releases": _releases, "history": _history, "logs": _logs,
    "rollback": _rollback, "restart": _restart, "maintenance": _maintenance, "pause": _pause,
    "resume": _resume, "psql": _psql, "run": _run, "remove": _remove,
}  # fmt: skip


ON_SERVER = {"hold": _hold, "unhold": _unhold}


class Parser(argparse.ArgumentParser):
    """Exits with 1 for invalid arguments: 2 means drift."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error."""
        self.print_usage(sys.stderr)
        self.exit(ReleaseError.code, f"{self.prog}: {message}\n")


def _parser() -> Parser:
    parser = Parser(
        prog="onebox-release",
        description="Releases of this server's apps. Run as root.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        parser_of = _declared(commands, command)
        if command is RUN:  # `fab run` first sends the command, so that sudo does not log it
            parser_of.add_argument("--put", type=_token, help=argparse.SUPPRESS)
            parser_of.add_argument("--take", type=_token, help=argparse.SUPPRESS)
    _command(
        commands, "check", _check, "Check the live release through nginx; exit with 0 if healthy."
    )
    _command(commands, "recover", _recover, "Start the live release and stop all others.")
    deploy = _command(
        commands, "deploy", _deploy, "Deploy an archive that the deployer sent.", in_unit=True
    )
    deploy.add_argument("digest", help="SHA-256 of the archive")
    deploy.add_argument(
        "--allow-incompatible", action="store_true", help="run migrations that prevent a rollback"
    )
    deploy.add_argument(
        "--credentials",
        action="store_true",
        help="read credentials for uv and git from standard input",
    )
    deploy.add_argument(
        "--by-key",
        metavar="KEY",
        help="fingerprint of the deploy key that sent the archive, which is then untrusted",
    )
    deploy.add_argument("--upload", help=argparse.SUPPRESS)  # the archive's upload slot
    timer = _command(
        commands,
        "timer",
        _timer,
        "Run one of the app's timers now; `status --json` has the result.",
    )
    timer.add_argument("timer", help="the timer's name")
    planned = _command(commands, "plan", _plan, "Show the release id of an archive, and drift.")
    planned.add_argument(
        "digest", help=f"SHA-256 of the archive, or `{LIVE}` for the live release's"
    )
    blocks = commands.add_parser("reserve", help="Reserve disk blocks for PostgreSQL.")
    blocks.add_argument("--check", action="store_true", help="only check; exit with 1 if not set")
    blocks.set_defaults(run=_reserve)
    return parser


def _token(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise argparse.ArgumentTypeError("expected 32 hexadecimal digits")
    return text


def _declared(commands: Commands, command: Command) -> Parser:
    """Add a command that `fab` has, too."""
    if command.on_app:
        run = RUNS[command.name]
        parser = _command(commands, command.name, run, command.help, in_unit=command.in_unit)
    else:
        parser = commands.add_parser(command.name, help=command.help, description=command.help)
        parser.set_defaults(run=ON_SERVER[command.name])
    for each in command.arguments:
        flag = f"--{each.name}"
        if each.is_positional:
            count = None if each.is_required else "?"
            choices = each.choices or None
            parser.add_argument(each.name, nargs=count, choices=choices, help=each.help)
        elif each.default is True:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=True, help=each.help
            )
        elif each.default is False:
            parser.add_argument(flag, action="store_true", help=each.help)
        else:
            kind = type(each.default)
            parser.add_argument(flag, type=kind, default=each.default, help=each.help)
    if command.prints_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _command(
    commands: Commands, name: str, run: Run, help_text: str, *, in_unit: bool = False
) -> Parser:
    parser = commands.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("app", help="the app's name")
    parser.add_argument(transient_unit.INSIDE, action="store_true", help=argparse.SUPPRESS)
    if in_unit:
        parser.add_argument(
            "--wait",
            type=float,
            default=lock.WAIT,
            metavar="SECONDS",
            help=f"wait for another deploy; 0 does not wait (default: {lock.WAIT})",
        )
    parser.set_defaults(
        run=run, in_unit=in_unit, alone=in_unit or run in (_recover, _pause, _resume)
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
