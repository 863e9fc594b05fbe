"""The command onebox-release, as root types it and as `fab` does."""

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
    identity,
    integrity,
    maintenance,
    pause,
    release,
    release_units,
    remove,
    sandbox,
    timers,
)
from onebox_release.core.requester import KEY
from onebox_release.core.switch import check_public
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import durable, lock, postgresql, reserve, systemd
from onebox_release.report import document, exit_code, log
from onebox_release.shell import keys, logs, status, submit, transient_unit

EXAMPLES = """
Show the live release and those to roll back to:  onebox-release status links
Roll back to the previous release:                onebox-release rollback links

The live release serves until another one answers.
Exit codes: 0 done or nothing to do, 1 failed, 3 another deploy is under way, 4 refused.
"""

LIVE = "live"  # in place of an archive's digest

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run = Callable[[App, argparse.Namespace], int | None]


def main() -> int:
    """Run one command and return its exit code; what went wrong is told on stderr."""
    arguments = _parser().parse_args()
    if os.geteuid():
        log("onebox-release must be run by root: put sudo in front.")
        return ReleaseError.code
    return exit_code(lambda: _main(arguments))


def _main(arguments: argparse.Namespace) -> int:
    if "app" not in arguments:
        arguments.run(arguments)
        return 0
    app = App(arguments.app)
    app.parameters  # noqa: B018 - an unknown app is refused here
    if arguments.in_unit and not arguments.inside:
        secret = sys.stdin.read() if "credentials" in arguments and arguments.credentials else ""
        is_removal = arguments.run is _remove
        if is_removal:
            lock.wait_until_free(arguments.wait, log)
        # What is being removed must not be started again.
        return transient_unit.run(
            app,
            sys.argv[1:],
            mend=not is_removal,
            wait=arguments.wait,
            secret=secret,
            check=partial(_may_begin, arguments),
        )
    with _alone(app) if arguments.alone else nullcontext():
        try:
            return arguments.run(app, arguments) or 0
        finally:
            if arguments.in_unit:  # what came of it is told now
                systemd.run_checks()


def _may_begin(arguments: argparse.Namespace) -> None:
    """Raise where a deploy may not begin any more: it may have waited for others for long."""
    if arguments.run is not _deploy:
        return
    if arguments.by_key:
        keys.check(arguments.by_key, arguments.app)
    elif reason := lock.held():
        raise LockedError(reason)


def _deploy(app: App, arguments: argparse.Namespace) -> None:
    _may_begin(arguments)
    if arguments.upload:
        submit.move_upload(app, arguments.upload, arguments.digest)
    app = app.having(by_key=bool(arguments.by_key))
    release.deploy(app, arguments.digest, consent=arguments.allow_incompatible)


def _rollback(app: App, arguments: argparse.Namespace) -> None:
    release.rollback(app, arguments.release, force=arguments.force)


def _job(app: App, arguments: argparse.Namespace) -> None:
    timers.run(app, arguments.job)


def _recover(app: App, _: argparse.Namespace) -> None:
    if pause.is_paused(app):  # at a boot
        log(f"{app.name} is paused and stays down: onebox-release resume {app.name}")
        return
    release.recover(app)


def _plan(app: App, arguments: argparse.Namespace) -> None:
    serving, digest = app.live(), arguments.digest
    if digest == LIVE:
        digest = identity.archived(serving) if serving else None
    else:
        identity.check_unique(app, digest)
    data = {
        "digest": digest,
        "release": identity.release_of(app, digest).id if digest else None,
        "live": serving.id if serving else None,
        "by_key": history.deployer(serving).startswith(KEY) if serving else False,
        "up": systemd.releases_up(app.name, release_units.all_processes(app)),
        "differences": integrity.differences(app, serving),
    }
    print(document(app.name, data))


def _check(app: App, _: argparse.Namespace) -> None:
    serving = app.live()
    if serving is None:
        raise ReleaseError(f"No release of {app.name} is live.")
    check_public(serving)


def _status(app: App, arguments: argparse.Namespace) -> None:
    _show(app, arguments, status.gather(app), partial(status.render, app.name))


def _releases(app: App, arguments: argparse.Namespace) -> None:
    _show(app, arguments, history.releases(app), history.render_releases)


def _history(app: App, arguments: argparse.Namespace) -> None:
    _show(app, arguments, history.read(app), history.render)


def _logs(app: App, arguments: argparse.Namespace) -> None:
    wanted = logs.finder(arguments.grep, arguments.request)
    lines = logs.TAIL if arguments.follow else arguments.lines
    found = logs.read(app, since=arguments.since, wanted=wanted, newest=lines)
    if arguments.json:
        print(document(app.name, [asdict(line) for line in found]))
        return
    for line in found:
        print(line)
    if not found and not arguments.follow:
        log(f"Nothing found since {arguments.since}. Search further back, as in --since 7d.")
    with suppress(KeyboardInterrupt):  # its usual end
        for line in logs.follow(app, wanted) if arguments.follow else ():
            print(line, flush=True)


def _run(app: App, arguments: argparse.Namespace) -> int:
    if arguments.put:
        sandbox.store_command(app, arguments.put, sys.stdin.read())
        return 0
    command = sandbox.take_command(app, arguments.take) if arguments.take else arguments.command
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
        maintenance.on(app)
    else:
        maintenance.off(app)


def _pause(app: App, _: argparse.Namespace) -> None:
    pause.pause(app)


def _resume(app: App, _: argparse.Namespace) -> None:
    pause.resume(app)
    release.recover(app)


def _remove(app: App, arguments: argparse.Namespace) -> None:
    who = arguments.who or _user()
    remove.remove(app, who, keep=not arguments.no_dump)


def _show(app: App, arguments: argparse.Namespace, data: Any, told: Callable[[Any], str]) -> None:
    """Print data for a person, or for a program."""
    print(document(app.name, data) if arguments.json else told(data))


@contextmanager
def _alone(app: App) -> Iterator[None]:
    """Keep every other deploy, rollback and recovery of the app out; death lets go.

    Raises LockedError where another one goes on for too long.
    """
    deadline = time.monotonic() + lock.WAIT
    with os.fdopen(os.open(app.lock, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    told = f"A deploy of {app.name} is under way. Gave up after {lock.WAIT} s."
                    raise LockedError(told) from None
                time.sleep(0.2)
        yield


def _hold(arguments: argparse.Namespace) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    who = arguments.who or _user()
    durable.write(lock.HOLD, json.dumps({"at": at, "who": who, "why": arguments.why}))


def _user() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _unhold(_: argparse.Namespace) -> None:
    lock.HOLD.unlink(missing_ok=True)


def _reserve(arguments: argparse.Namespace) -> None:
    if not arguments.check:
        reserve.keep()
    elif not reserve.is_kept():
        raise ReleaseError("The disk's last space is not kept for PostgreSQL.")


class Parser(argparse.ArgumentParser):
    """Exits with 1 where a command is misspelt: 2 says drift."""

    def error(self, message: str) -> NoReturn:
        """Tell how the command is used."""
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
    _json(_command(commands, "status", _status, "say how the app and the server are"))
    _json(_command(commands, "releases", _releases, "list the releases to roll back to"))
    _json(_command(commands, "history", _history, "list what was deployed when"))
    _command(commands, "check", _check, "ask the live release through nginx; 0 if it answers")
    back = _command(
        commands, "rollback", _rollback, "roll back to an earlier release", in_unit=True
    )
    back.add_argument(
        "release", nargs="?", help="a release that `status` lists; default: the previous one"
    )
    back.add_argument(
        "--force",
        action="store_true",
        help="even if it was altered, the database has moved on without it, or memory is short",
    )
    _command(commands, "recover", _recover, "start what should be live, stop what should not be")
    deploy = _command(
        commands, "deploy", _deploy, "release an archive that the deployer sent", in_unit=True
    )
    deploy.add_argument("digest", help="SHA-256 of the archive")
    deploy.add_argument(
        "--allow-incompatible", action="store_true", help="run migrations that disable rollback"
    )
    deploy.add_argument(
        "--credentials", action="store_true", help="read those for uv and git from standard input"
    )
    deploy.add_argument(
        "--by-key",
        metavar="KEY",
        help="trust nothing of the archive: the deploy key with this fingerprint sent it",
    )
    deploy.add_argument("--upload", help=argparse.SUPPRESS)  # the slot in which it waits
    job = _command(commands, "job", _job, "run one of the app's timers now, and wait for it")
    job.add_argument("job", help="its name")
    plan = _command(commands, "plan", _plan, "name the release that an archive would become")
    plan.add_argument("digest", help=f"its SHA-256, or `{LIVE}` for the live release's archive")
    _command(commands, "restart", _restart, "restart the live release", in_unit=True)
    _by_hand(commands)
    hold = commands.add_parser("hold", help="keep deploys away from this server")
    hold.add_argument("why", help="the reason, shown to those who try")
    hold.add_argument("--who", help="the user to record instead of the one who runs this")
    hold.set_defaults(run=_hold)
    commands.add_parser("unhold", help="let deploys in again").set_defaults(run=_unhold)
    kept = commands.add_parser("reserve", help="keep the disk's last space for PostgreSQL")
    kept.add_argument("--check", action="store_true", help="only check; exits with 1 if it isn't")
    kept.set_defaults(run=_reserve)
    return parser


def _by_hand(commands: Commands) -> None:
    read = _json(_command(commands, "logs", _logs, "show what it wrote, with nginx and PostgreSQL"))
    read.add_argument("--follow", action="store_true", help="go on as more is written")
    read.add_argument("--since", default="1h", help='"15m", "2d" or a time in UTC (default: 1h)')
    read.add_argument("--grep", default="", help="lines with this regular expression alone")
    read.add_argument("--request", default="", help="lines with this request id alone")
    read.add_argument("--lines", type=int, default=200, help="newest lines (default: 200)")
    run = _command(commands, "run", _run, "run a command in the app's environment and sandbox")
    run.add_argument(
        "command", nargs="?", default="", help="for a shell; none is a shell. sudo logs it"
    )
    # `fab run` sends a command that sudo doesn't see: first its text, on standard input.
    run.add_argument("--put", type=_token, help=argparse.SUPPRESS)
    run.add_argument("--take", type=_token, help=argparse.SUPPRESS)
    ask = _command(commands, "psql", _psql, "ask the app's database")
    ask.add_argument("--owner", action="store_true", help="as the schema's owner")
    page = _command(commands, "maintenance", _maintenance, "serve a maintenance page instead of it")
    page.add_argument("switch", choices=["on", "off"])
    _command(commands, "pause", _pause, "stop its processes and timers, over reboots too")
    _command(commands, "resume", _resume, "start its processes and timers again")
    end = _command(commands, "remove", _remove, "take the app off this server", in_unit=True)
    end.add_argument("--yes", action="store_true", required=True, help="that it is meant")
    end.add_argument("--no-dump", action="store_true", help="keep no copy of its data")
    end.add_argument("--who", help="the user to record instead of the one who runs this")


def _token(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise argparse.ArgumentTypeError("it is 32 hexadecimal digits")
    return text


def _json(parser: Parser) -> Parser:
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _command(
    commands: Commands, name: str, run: Run, does: str, *, in_unit: bool = False
) -> Parser:
    parser = commands.add_parser(name, help=does, description=does.capitalize() + ".")
    parser.add_argument("app", help="the app's name")
    parser.add_argument(transient_unit.INSIDE, action="store_true", help=argparse.SUPPRESS)
    if in_unit:
        parser.add_argument(
            "--wait",
            type=float,
            default=lock.WAIT,
            metavar="SECONDS",
            help=f"to wait for another deploy; 0 does not wait (default: {lock.WAIT})",
        )
    parser.set_defaults(
        run=run, in_unit=in_unit, alone=in_unit or run in (_recover, _pause, _resume)
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
