"""The checks' state between rounds: problems, what was notified, recent samples.

A problem opens once two checks at least half a round apart have found it, or at once if it cannot
be transient; it is resolved the same way. So a deploy, a worker's restart or a reboot is no
problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from onebox_release.host import durable, problems

from onebox_checks.observation import Observation
from onebox_checks.rules import ROUNDS, Finding, Past

SCHEMA = 1
PATIENCE = 0.5  # share of a round
HOUR = 3600
Samples = dict[str, list[tuple[float, int]]]


@dataclass
class Problem:
    """A problem, since when (seconds of the epoch), and whether it was notified."""

    key: str
    what: str
    do: str
    patient: bool
    urgent: bool
    mark: str
    since: float
    notified: bool = False
    good: float | None = None
    """Since when it seems resolved."""


@dataclass
class State:
    """The whole state."""

    at: float = 0
    suspected: dict[str, float] = field(default_factory=dict)
    """Unconfirmed findings, and since when."""
    open: dict[str, Problem] = field(default_factory=dict)
    resolved: list[Problem] = field(default_factory=list)
    """Resolved problems whose resolution was not notified yet."""
    sent: list[float] = field(default_factory=list)
    """Times of recent messages."""
    sent_urgent: list[float] = field(default_factory=list)
    """Times of recent urgent messages beyond the limit of the others."""
    undelivered: dict[str, str] = field(default_factory=dict)
    """The last error of each channel, by name."""
    free: Samples = field(default_factory=dict)
    restarts: Samples = field(default_factory=dict)
    clock: float | None = None
    clock_asked: float = 0
    deploys: dict[str, str] = field(default_factory=dict)
    """The time of each app's last deploy that was reported, or first observed."""

    @property
    def past(self) -> Past:
        """Return what `judge` needs."""
        return Past(set(self.open), self.free, self.restarts)

    @property
    def is_good(self) -> bool:
        """Check whether the ping may be sent: no problem is urgent, and no news is pending."""
        return not self.resolved and all(p.notified and not p.urgent for p in self.open.values())


def update(
    state: State, findings: list[Finding], unknown: set[str], now: float, every: int
) -> None:
    """Open and resolve problems after a round. Problems of checks in `unknown` stay."""
    found = {finding.key: finding for finding in findings}

    def gone(keys: Iterable[str]) -> list[str]:
        return [k for k in keys if k not in found and unknown.isdisjoint({k, k.partition(":")[0]})]

    for key, finding in found.items():
        if key in state.open:
            problem = state.open[key]
            if problem.mark != finding.mark:
                problem.notified, problem.since = False, now
            problem.what, problem.do = finding.what, finding.do
            problem.mark, problem.good = finding.mark, None
            continue
        since = state.suspected.setdefault(key, now)
        if not finding.patient or now - since >= PATIENCE * every:
            del state.suspected[key]
            state.open[key] = Problem(
                key, finding.what, finding.do, finding.patient, finding.urgent, finding.mark, since
            )
    for key in gone(state.suspected):
        del state.suspected[key]
    for key in gone(state.open):
        problem = state.open[key]
        problem.good = now if problem.good is None else problem.good
        if not problem.patient or now - problem.good >= PATIENCE * every:
            del state.open[key]
            if problem.notified:
                state.resolved.append(problem)


def record_samples(state: State, observed: Observation, every: int) -> None:
    """Record this round's samples, and drop old ones."""
    figures = {disk.mount: disk.free for disk in observed.disks}
    counts = {unit: count for app in observed.apps for unit, count in app.restarts.items()}
    for samples, now in ((state.free, figures), (state.restarts, counts)):
        for key in set(samples) - set(now):
            del samples[key]
        for key, value in now.items():
            recent = [s for s in samples.get(key, []) if s[0] > observed.at - ROUNDS * every]
            if not recent or observed.at - recent[-1][0] >= PATIENCE * every:
                recent.append((observed.at, value))
            samples[key] = recent


def allowance(state: State, now: float, most: int, *, urgent: bool) -> list[float] | None:
    """Return the list of times to add one more message to, or None if the limit is reached: the
    message is then sent later.

    The limit is per hour, with as many again for urgent messages, so that other messages, of
    failing deploys for example, cannot suppress them.
    """
    for sent in (state.sent, state.sent_urgent)[: 1 + urgent]:
        sent[:] = [at for at in sent if at > now - HOUR]
        if len(sent) < most:
            return sent
    return None


def load(file: Path = problems.FILE, spare: Path = problems.SPARE) -> State:
    """Return the stored state; an empty one if it is missing or unreadable."""
    try:
        document = json.loads(problems.newest(file, spare).read_text())
    except (OSError, ValueError):
        return State()
    if document.get("schema") != SCHEMA:
        return State()
    data: dict[str, Any] = document["data"]
    known = {f.name for f in fields(State)}
    state = State(**{key: value for key, value in data.items() if key in known})
    state.open = {key: Problem(**problem) for key, problem in data["open"].items()}
    state.resolved = [Problem(**problem) for problem in data.get("resolved", [])]
    return state


def save(state: State, file: Path = problems.FILE, spare: Path = problems.SPARE) -> None:
    """Store the state; in tmpfs if the disk is full.

    Otherwise a full disk would never be reported: each round would be the first one.
    """
    text = json.dumps({"schema": SCHEMA, "data": asdict(state)})
    try:
        durable.write(file, text)
    except OSError:
        spare.write_text(text)
    else:
        spare.unlink(missing_ok=True)
