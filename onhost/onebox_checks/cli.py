"""The command onebox-watch: round, status, test."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import time
from datetime import datetime

from onebox_release.terminal import printable

from onebox_checks import (
    channels,
    configuration,
    libraries,
    messages,
    observe,
    restarts,
    rules,
    state,
)
from onebox_checks.channels import Message
from onebox_checks.configuration import Configuration
from onebox_checks.observation import Observation
from onebox_checks.state import State

USER = "onebox-watch"
EXAMPLES = """
Show the open problems:     onebox-watch status
Send a test notification:   onebox-watch test
Run the checks now:         systemctl start onebox-watch

What each check means: docs/checks.md. Exit codes: 0 done, 1 failed.
"""
CLOCK = 3600  # seconds after which the clock is compared again


def main() -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="onebox-watch",
        description="Check this server and report problems.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, does in (
        (_round, "run all checks once; a timer does"),
        (_status, "show the open problems"),
        (_restart, "restart services that run on libraries an update has replaced"),
        (_libraries, "record which services do; the checks' unit does"),
        (_test, "send a test notification by every channel"),
    ):
        name = run.__name__.removeprefix("_")
        commands.add_parser(name, help=does).set_defaults(run=run)
    arguments = parser.parse_args()
    try:
        code: int = arguments.run(configuration.read())
    except PermissionError:
        log("onebox-watch must be run by root: put sudo in front.")
        return 1
    except (OSError, ValueError) as error:
        log(f"{type(error).__name__}: {error}")
        return 1
    return code


def _round(settings: Configuration) -> int:
    """Look, judge, tell, remember, ping."""
    kept = state.load()
    if not settings.ping and time.time() - kept.clock_asked >= CLOCK:
        kept.clock, kept.clock_asked = observe.ask_clock(settings), time.time()
    seen = observe.observe_server(settings, clock=kept.clock)
    findings = rules.judge(seen, kept.past)
    state.take(kept, findings, rules.unknown(seen), seen.at, settings.every)
    state.sample(kept, seen, settings.every)
    _notify(settings, kept, seen)
    kept.at = seen.at
    if settings.ping and kept.is_good:
        problem, date = channels.ping(settings.ping)
        if problem:
            log(f"The ping failed: {problem}")
        kept.clock = observe.skew(date)
    state.save(kept)
    return 0


def _notify(settings: Configuration, kept: State, seen: Observation) -> None:
    """Send one message with all that nobody knows yet, unless there were too many of late."""
    raised = [problem for problem in kept.open.values() if not problem.notified]
    for problem in raised:
        log(f"{problem.key}: {problem.what}")
    events = _events(settings, kept, seen)
    if raised or kept.resolved or events:
        urgent = any(problem.urgent for problem in raised)
        counted = state.allowance(kept, seen.at, settings.hourly, urgent=urgent)
        if counted is None:
            return
        message = messages.message(settings.host, raised, kept.resolved, events)
        results = channels.notify(settings, message)
        kept.undelivered = {name: why for name, why in results.items() if why}
        for name, why in kept.undelivered.items():
            log(f"Could not notify by {name}: {why}")
        if results and len(kept.undelivered) == len(results):
            return
        counted.append(seen.at)
    for problem in raised:
        problem.notified = True
    kept.resolved = []
    kept.deploys = {app.name: app.last["at"] for app in seen.apps if app.last}


def _events(settings: Configuration, kept: State, seen: Observation) -> list[str]:
    """Return the deploys that went well and that nobody knows of, where those are told."""
    news = [
        (app, app.last)
        for app in seen.apps
        if app.last and kept.deploys.get(app.name) not in {None, app.last["at"]}
    ]
    return [
        rules.happened(app, last)
        for app, last in news
        if settings.deploys and last["result"] not in rules.BAD
    ]


def log(text: str) -> None:
    """Tell whoever ran this, or the journal."""
    print(printable(text), file=sys.stderr)


def _status(_: Configuration) -> int:
    print(messages.status(state.load()))
    return 0


def _restart(settings: Configuration) -> int:
    """By hand at any time; by its timer only where a window is set."""
    if "INVOCATION_ID" in os.environ and not settings.restart:
        log("`updates` sets no window: nothing is restarted")
        return 0
    return restarts.run(settings)


def _libraries(_: Configuration) -> int:
    libraries.write()
    return 0


def _test(settings: Configuration) -> int:
    """Tell everybody, with no more rights than a round has."""
    if not os.geteuid():
        user = pwd.getpwnam(USER)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    text = f"Test      This is a test notification, sent at {at}\nServer    {settings.host}\n"
    results = channels.notify(settings, Message(f"[{settings.host}] Test notification", text))
    for name, why in results.items():
        log(f"{name}: {why or 'sent'}")
    if not results:
        log("No channel is set: `notify` in the inventory is empty.")
    return int(any(results.values()) or not results)


if __name__ == "__main__":
    sys.exit(main())
