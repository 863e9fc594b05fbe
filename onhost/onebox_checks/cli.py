"""The command onebox-checks: round, status, test and others."""

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

USER = "onebox-checks"
EXAMPLES = """
Show the open problems:     onebox-checks status
Send a test notification:   onebox-checks test
Run the checks now:         systemctl start onebox-checks

What each check means: docs/checks.md. Exit codes: 0 done, 1 failed.
"""
CLOCK = 3600  # seconds between two clock checks


def main() -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="onebox-checks",
        description="Check this server and report problems.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, does in (
        (_round, "run all checks once, as the timer does"),
        (_status, "show the open problems"),
        (_restart, "restart services that use libraries an update replaced"),
        (_libraries, "record those services, as the checks' unit does"),
        (_test, "send a test notification by every channel"),
    ):
        name = run.__name__.removeprefix("_")
        commands.add_parser(name, help=does).set_defaults(run=run)
    arguments = parser.parse_args()
    try:
        code: int = arguments.run(configuration.read())
    except PermissionError:
        log("onebox-checks must run as root: use sudo.")
        return 1
    except (OSError, ValueError) as error:
        log(f"{type(error).__name__}: {error}")
        return 1
    return code


def _round(settings: Configuration) -> int:
    """Observe, judge, notify, store the state, ping."""
    stored = state.load()
    if not settings.ping and time.time() - stored.clock_asked >= CLOCK:
        stored.clock, stored.clock_asked = observe.ask_clock(settings), time.time()
    observed = observe.observe_server(settings, clock=stored.clock)
    findings = rules.judge(observed, stored.past)
    state.update(stored, findings, rules.unknown(observed), observed.at, settings.every)
    state.record_samples(stored, observed, settings.every)
    _notify(settings, stored, observed)
    stored.at = observed.at
    if settings.ping and stored.is_good:
        problem, date = channels.ping(settings.ping)
        if problem:
            log(f"Ping failed: {problem}")
        stored.clock = observe.skew(date)
    state.save(stored)
    return 0


def _notify(settings: Configuration, stored: State, observed: Observation) -> None:
    """Send one message with all news, unless the hourly limit is reached."""
    raised = [problem for problem in stored.open.values() if not problem.notified]
    for problem in raised:
        log(f"{problem.key}: {problem.what}")
    events = _events(settings, stored, observed)
    if raised or stored.resolved or events:
        urgent = any(problem.urgent for problem in raised)
        counted = state.allowance(stored, observed.at, settings.hourly, urgent=urgent)
        if counted is None:
            return
        message = messages.message(settings.host, raised, stored.resolved, events)
        results = channels.notify(settings, message)
        stored.undelivered = {name: why for name, why in results.items() if why}
        for name, why in stored.undelivered.items():
            log(f"Could not notify by {name}: {why}")
        if results and len(stored.undelivered) == len(results):
            return
        counted.append(observed.at)
    for problem in raised:
        problem.notified = True
    stored.resolved = []
    stored.deploys = {app.name: app.last["at"] for app in observed.apps if app.last}


def _events(settings: Configuration, stored: State, observed: Observation) -> list[str]:
    """Return successful deploys that were not reported yet, if `deploys` is set."""
    news = [
        (app, app.last)
        for app in observed.apps
        if app.last and stored.deploys.get(app.name) not in {None, app.last["at"]}
    ]
    return [
        rules.describe_deploy(app, last)
        for app, last in news
        if settings.deploys and last["result"] == "succeeded"
    ]


def log(text: str) -> None:
    """Log to stderr, which is the journal in a unit."""
    print(printable(text), file=sys.stderr)


def _status(_: Configuration) -> int:
    print(messages.status(state.load()))
    return 0


def _restart(settings: Configuration) -> int:
    """Restart at any time by hand; by the timer only if a window is set."""
    if "INVOCATION_ID" in os.environ and not settings.restart:
        log("Nothing was restarted: `updates` sets no maintenance window")
        return 0
    return restarts.run(settings)


def _libraries(_: Configuration) -> int:
    libraries.write()
    return 0


def _test(settings: Configuration) -> int:
    """Notify by every channel, with the same rights as the checks."""
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
