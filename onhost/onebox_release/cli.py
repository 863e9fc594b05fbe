"""The command onebox-release: deploy, rollback, status, recover, hold, unhold."""

from __future__ import annotations

import argparse
import fcntl
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import NoReturn, TypeAlias

from . import durable, history, identity, jobs, lock, parameters, problems, release, systemd, unit
from .errors import LockedError, ReleaseError
from .parameters import Parameters
from .places import Places
from .report import document, say
from .switch import check_public, live

EXAMPLES = """
Which release is live, and which can be gone back to:  onebox-release status links
Go back to the one before:                             onebox-release rollback links

Whatever you do, the live release goes on serving until another one answers.
Exit codes: 0 done or nothing to do, 1 failed, 3 another deploy is under way, 4 refused.
"""

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run = Callable[[Places, Parameters, argparse.Namespace], object]


def main() -> int:
    """Run one command and return its exit code; what went wrong is told on stderr."""
    arguments = _parser().parse_args()
    if os.geteuid():
        say("onebox-release must be run by root: put sudo in front.")
        return ReleaseError.code
    try:
        if "app" not in arguments:
            arguments.run(arguments)
            return 0
        places = Places(arguments.app)
        settings = parameters.read(places)
        if arguments.in_unit and not arguments.inside:
            return unit.run(places, sys.argv[1:])
        with _alone(places) if arguments.alone else nullcontext():
            try:
                arguments.run(places, settings, arguments)
            finally:
                if arguments.in_unit:  # what came of it is told now
                    systemd.look()
    except ReleaseError as error:
        say(str(error))
        return error.code
    except OSError as error:
        say(f"The server's system refused: {error}")
        return ReleaseError.code
    return 0


def _deploy(places: Places, settings: Parameters, arguments: argparse.Namespace) -> None:
    release.deploy(places, settings, arguments.digest, consent=arguments.allow_incompatible)


def _rollback(places: Places, settings: Parameters, arguments: argparse.Namespace) -> None:
    release.rollback(places, settings, arguments.release, force=arguments.force)


def _job(places: Places, _: Parameters, arguments: argparse.Namespace) -> None:
    jobs.run(places, arguments.job)


def _recover(places: Places, settings: Parameters, _: argparse.Namespace) -> None:
    release.recover(places, settings)


def _plan(places: Places, settings: Parameters, arguments: argparse.Namespace) -> None:
    wanted = identity.release_id(arguments.digest, places, settings.processes)
    up = systemd.releases_up(places.app, settings.processes)
    print(document(places.app, {"release": wanted, "live": live(places), "up": up}))


def _check(places: Places, settings: Parameters, _: argparse.Namespace) -> None:
    serving = live(places)
    if serving is None:
        raise ReleaseError(f"No release of {places.app} is live.")
    check_public(settings, serving)


def _status(places: Places, settings: Parameters, arguments: argparse.Namespace) -> None:
    entries = history.read(places)
    serving = live(places)
    data = {
        "live": serving,
        "since": _since(entries, serving),
        "up": systemd.releases_up(places.app, settings.processes),
        "healthy": history.healthy(places),
        "deploying": systemd.is_active(places.unit),
        "last": entries[-1] if entries else None,
        "jobs": jobs.last(places, settings),
        "problems": problems.read(),
    }
    print(document(places.app, data) if arguments.json else "\n".join(_told(data)))


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """Keep every other deploy, rollback and recovery of the app out; death lets go."""
    with os.fdopen(os.open(places.lock, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"A deploy of {places.app} is under way. Wait for it.") from None
        yield


def _hold(arguments: argparse.Namespace) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    who = os.environ.get("SUDO_USER") or getpass.getuser()
    durable.write(lock.HOLD, json.dumps({"at": at, "who": who, "why": arguments.why}))


def _unhold(_: argparse.Namespace) -> None:
    lock.HOLD.unlink(missing_ok=True)


def _since(entries: list[history.Entry], serving: str | None) -> str | None:
    times = [e["at"] for e in entries if e["release"] == serving and e["result"] == "live"]
    return times[-1] if times else None


def _told(data: Mapping[str, object]) -> Iterable[str]:
    yield f"live  {data['live'] or 'none'}" + (f"  since {data['since']}" if data["since"] else "")
    healthy = data["healthy"]
    for kept in healthy if isinstance(healthy, list) else []:
        if kept != data["live"]:
            yield f"kept  {kept}"
    if data["deploying"]:
        yield "A deploy is under way."


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
    status = _command(commands, "status", _status, "say which release is live")
    status.add_argument("--json", action="store_true", help="for programs")
    _command(commands, "check", _check, "ask the live release through nginx; 0 if it answers")
    back = _command(commands, "rollback", _rollback, "go back to an earlier release", in_unit=True)
    back.add_argument("release", nargs="?", help="one that `status` lists; or the one before")
    back.add_argument(
        "--force", action="store_true", help="even if the database has moved on without it"
    )
    _command(commands, "recover", _recover, "start what should be live, stop what should not be")
    deploy = _command(
        commands, "deploy", _deploy, "release an archive that the deployer sent", in_unit=True
    )
    deploy.add_argument("digest", help="SHA-256 of the archive")
    deploy.add_argument(
        "--allow-incompatible", action="store_true", help="migrate though going back may be off"
    )
    job = _command(commands, "job", _job, "run one of the app's timers now, and wait for it")
    job.add_argument("job", help="its name")
    plan = _command(commands, "plan", _plan, "name the release that an archive would become")
    plan.add_argument("digest", help="SHA-256 of the archive")
    hold = commands.add_parser("hold", help="keep deploys away from this server")
    hold.add_argument("why", help="the reason, told to whoever tries")
    hold.set_defaults(run=_hold)
    commands.add_parser("unhold", help="let deploys in again").set_defaults(run=_unhold)
    return parser


def _command(
    commands: Commands, name: str, run: Run, does: str, *, in_unit: bool = False
) -> Parser:
    parser = commands.add_parser(name, help=does, description=does.capitalize() + ".")
    parser.add_argument("app", help="the app's name")
    parser.add_argument(unit.INSIDE, action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run, in_unit=in_unit, alone=in_unit or run is _recover)
    return parser


if __name__ == "__main__":
    sys.exit(main())
