"""The command onebox-release: deploy, rollback, status, recover."""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import history, identity, parameters, systemd
from .build import build
from .errors import LockedError, ReleaseError
from .places import Places
from .report import document, say
from .switch import live, migrate, recover, switch

FAILED, LOCKED = 1, 3

EXAMPLES = """
Which release is live, and which can be gone back to:  onebox-release status links
Go back to the one before:                             onebox-release rollback links
"""


def main() -> int:
    """Run one command; return 0 when done, 1 when it failed, 3 when another deploy is under way."""
    arguments = _parser().parse_args()
    places = Places(arguments.app)
    try:
        return int(arguments.run(places, arguments) or 0)
    except LockedError as error:
        say(str(error))
        return LOCKED
    except ReleaseError as error:
        say(str(error))
        return FAILED


def _deploy(places: Places, arguments: argparse.Namespace) -> None:
    settings = parameters.read(places)
    with _locked(places), _recorded(places, "deploy") as entry:
        entry["release"] = release = build(places, settings, arguments.digest)
        if release == live(places):
            say(f"Release {release} is live already")
            return
        if settings.migrates:
            migrate(places, release)
        switch(places, settings, release)
        entry["result"] = "live"
    history.prune(places, settings.keep_releases)


def _rollback(places: Places, arguments: argparse.Namespace) -> None:
    settings = parameters.read(places)
    with _locked(places), _recorded(places, "rollback") as entry:
        entry["release"] = release = arguments.release or _previous(places)
        if release not in history.healthy(places):
            raise ReleaseError(f"There is no healthy release {release} here to go back to.")
        switch(places, settings, release)
        entry["result"] = "live"


def _previous(places: Places) -> str:
    others = [release for release in history.healthy(places) if release != live(places)]
    if not others:
        raise ReleaseError("There is no earlier release to go back to.")
    return others[0]


def _recover(places: Places, _: argparse.Namespace) -> None:
    recover(places, parameters.read(places))


def _plan(places: Places, arguments: argparse.Namespace) -> None:
    release = identity.release_id(arguments.digest, places)
    print(document(places.app, {"release": release, "live": live(places)}))


def _status(places: Places, arguments: argparse.Namespace) -> None:
    parameters.read(places)
    release = live(places)
    data = {
        "live": release,
        "up": systemd.active_releases(places.app),
        "healthy": history.healthy(places),
        "last": next(reversed(history.read(places)), None),
    }
    if arguments.json:
        print(document(places.app, data))
        return
    print(f"live      {release or 'none'}")
    for other in history.healthy(places):
        if other != release:
            print(f"kept      {other}")


@contextmanager
def _locked(places: Places) -> Iterator[None]:
    with places.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"Another deploy of {places.app} is under way. Wait for it."
            ) from None
        yield


@contextmanager
def _recorded(places: Places, what: str) -> Iterator[dict[str, str]]:
    """Write what comes of it to the history, unless nothing was done."""
    entry = {"what": what, "before": live(places) or "", "release": "", "result": ""}
    start = time.monotonic()
    try:
        yield entry
    except ReleaseError as error:
        entry |= {"result": "failed", "why": str(error)}
        raise
    finally:
        if entry["result"]:
            history.record(places, **entry, seconds=round(time.monotonic() - start, 1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onebox-release",
        description="Releases of this server's apps. Run as root.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "status", _status, "say which release is live").add_argument(
        "--json", action="store_true", help="for programs"
    )
    _command(commands, "rollback", _rollback, "go back to an earlier release").add_argument(
        "release", nargs="?", help="one that `status` lists; otherwise the one before"
    )
    _command(commands, "recover", _recover, "start what should be live, stop what should not")
    for name, run, does in (
        ("deploy", _deploy, "release an archive that the deployer sent"),
        ("plan", _plan, "name the release that an archive would become"),
    ):
        _command(commands, name, run, does).add_argument("digest", help="SHA-256 of the archive")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[Places, argparse.Namespace], object],
    does: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=does, description=does.capitalize() + ".")
    parser.add_argument("app", help="the app's name")
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
