"""Notifications: what is wrong, where, since when, and the fix."""

from __future__ import annotations

from datetime import UTC, datetime

from onebox_release.terminal import printable

from onebox_checks.channels import Message
from onebox_checks.state import Problem, State

MORE = "docs/checks.md"
AS_ROOT = "Commands are for the server, as root or with sudo."


def message(
    host: str, raised: list[Problem], resolved: list[Problem], events: list[str]
) -> Message:
    """Return one notification for all news."""
    parts = [describe(problem, host) for problem in raised]
    parts += [
        f"Resolved  {first(p.what)}\nServer    {host}\nSince     {when(p.since)}" for p in resolved
    ]
    parts += [f"Event     {event}\nServer    {host}" for event in events]
    parts += [AS_ROOT] if raised else []
    heads = (
        [first(p.what) for p in raised] + [f"resolved: {first(p.what)}" for p in resolved] + events
    )
    more = f" (and {len(heads) - 1} more)" if len(heads) > 1 else ""
    data = {
        "raised": [as_data(problem) for problem in raised],
        "resolved": [as_data(problem) for problem in resolved],
        "events": events,
    }
    return Message(f"[{host}] {heads[0][:80]}{more}", "\n\n".join(parts) + "\n", data)


def describe(problem: Problem, host: str) -> str:
    """Return a problem as text."""
    what = printable(problem.what).replace("\n", "\n          ")
    return (
        f"Problem   {what}\nServer    {host}\nSince     {when(problem.since)}\n"
        f"Fix       {problem.do}\nMore      {MORE}, {check(problem)}"
    )


def as_data(problem: Problem) -> dict[str, str]:
    """Return a problem as data."""
    return {
        "check": check(problem),
        "of": problem.key.partition(":")[2],
        "what": problem.what,
        "since": datetime.fromtimestamp(problem.since, UTC).isoformat(timespec="seconds"),
        "do": problem.do,
        "more": f"{MORE}#{check(problem)}",
    }


def check(problem: Problem) -> str:
    """Return the name of the check that found a problem."""
    return problem.key.partition(":")[0]


def first(text: str) -> str:
    """Return the first line."""
    return printable(text).split("\n", 1)[0]


def when(at: float) -> str:
    """Return a time in UTC, to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def status(state: State) -> str:
    """Return the open problems as text."""
    if not state.at:
        return "The checks have not run yet. Next run: systemctl list-timers onebox-checks.timer"
    problems = f"{len(state.open) or 'no'} open problem" + "s" * (len(state.open) != 1)
    lines = [f"Last round {when(state.at)}: {problems}"]
    lines += [f"{check(p)}  {first(p.what)}  since {when(p.since)}" for p in state.open.values()]
    lines += [
        f"could not notify by {name}: {printable(why)}" for name, why in state.undelivered.items()
    ]
    return "\n".join(lines)
