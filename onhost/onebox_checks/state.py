"""What is remembered from round to round: open problems, who was told, lately's figures.

A problem is open once it has been seen at two looks half a round apart, unless it is of the kind
that can't be over by itself; it is resolved the same way. So a deploy, a worker's restart or a
reboot is no problem.
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
PATIENCE = 0.5  # of a round
HOUR = 3600
Samples = dict[str, list[tuple[float, int]]]


@dataclass
class Problem:
    """Something wrong, since when (seconds of the epoch), and whether anybody knows."""

    key: str
    what: str
    do: str
    patient: bool
    urgent: bool
    mark: str
    since: float
    notified: bool = False
    good: float | None = None
    """Since when it seems to be resolved."""


@dataclass
class State:
    """All of it."""

    at: float = 0
    suspected: dict[str, float] = field(default_factory=dict)
    """Findings of one look, and since when."""
    open: dict[str, Problem] = field(default_factory=dict)
    resolved: list[Problem] = field(default_factory=list)
    """Problems that somebody was told of and that are over, which nobody knows yet."""
    sent: list[float] = field(default_factory=list)
    """When messages went out, lately."""
    sent_urgent: list[float] = field(default_factory=list)
    """When those went out that had something urgent and no place among the others."""
    undelivered: dict[str, str] = field(default_factory=dict)
    """Why a way to tell somebody failed last, by its name."""
    free: Samples = field(default_factory=dict)
    restarts: Samples = field(default_factory=dict)
    clock: float | None = None
    clock_asked: float = 0
    deploys: dict[str, str] = field(default_factory=dict)
    """The time of the last deploy of each app that was told, or seen first."""

    @property
    def past(self) -> Past:
        """Return what judging needs."""
        return Past(set(self.open), self.free, self.restarts)

    @property
    def is_good(self) -> bool:
        """Tell whether the ping may go out: nothing is urgent, and nothing waits to be told."""
        return not self.resolved and all(p.notified and not p.urgent for p in self.open.values())


def take(memory: State, findings: list[Finding], unknown: set[str], now: float, every: int) -> None:
    """Open and close problems after a look. What the checks in `unknown` found before, stays."""
    found = {finding.key: finding for finding in findings}

    def gone(keys: Iterable[str]) -> list[str]:
        return [k for k in keys if k not in found and unknown.isdisjoint({k, k.partition(":")[0]})]

    for key, finding in found.items():
        if key in memory.open:
            problem = memory.open[key]
            if problem.mark != finding.mark:
                problem.notified, problem.since = False, now
            problem.what, problem.do = finding.what, finding.do
            problem.mark, problem.good = finding.mark, None
            continue
        since = memory.suspected.setdefault(key, now)
        if not finding.patient or now - since >= PATIENCE * every:
            del memory.suspected[key]
            memory.open[key] = Problem(
                key, finding.what, finding.do, finding.patient, finding.urgent, finding.mark, since
            )
    for key in gone(memory.suspected):
        del memory.suspected[key]
    for key in gone(memory.open):
        problem = memory.open[key]
        problem.good = now if problem.good is None else problem.good
        if not problem.patient or now - problem.good >= PATIENCE * every:
            del memory.open[key]
            if problem.notified:
                memory.resolved.append(problem)


def sample(memory: State, seen: Observation, every: int) -> None:
    """Keep this round's figures, and forget those that are no longer lately's."""
    figures = {disk.mount: disk.free for disk in seen.disks}
    counts = {unit: count for app in seen.apps for unit, count in app.restarts.items()}
    for samples, now in ((memory.free, figures), (memory.restarts, counts)):
        for key in set(samples) - set(now):
            del samples[key]
        for key, value in now.items():
            kept = [s for s in samples.get(key, []) if s[0] > seen.at - ROUNDS * every]
            if not kept or seen.at - kept[-1][0] >= PATIENCE * every:
                kept.append((seen.at, value))
            samples[key] = kept


def allowance(memory: State, now: float, most: int, *, urgent: bool) -> list[float] | None:
    """Return where one more message counts, or None where it would be too many: what waits is
    told later.

    There are so many an hour, and once more so many that have something urgent: whoever makes
    others, by failing deploys say, silences none of those.
    """
    for sent in (memory.sent, memory.sent_urgent)[: 1 + urgent]:
        sent[:] = [at for at in sent if at > now - HOUR]
        if len(sent) < most:
            return sent
    return None


def load(file: Path = problems.FILE, spare: Path = problems.SPARE) -> State:
    """Return what is remembered; nothing where there is nothing, or nothing that can be read."""
    try:
        document = json.loads(problems.newest(file, spare).read_text())
    except (OSError, ValueError):
        return State()
    if document.get("schema") != SCHEMA:
        return State()
    data: dict[str, Any] = document["data"]
    known = {f.name for f in fields(State)}
    memory = State(**{key: value for key, value in data.items() if key in known})
    memory.open = {key: Problem(**problem) for key, problem in data["open"].items()}
    memory.resolved = [Problem(**problem) for problem in data.get("resolved", [])]
    return memory


def save(memory: State, file: Path = problems.FILE, spare: Path = problems.SPARE) -> None:
    """Remember; where the disk takes nothing, until the next reboot at least.

    A full disk would not be told otherwise: each look would be the first one.
    """
    text = json.dumps({"schema": SCHEMA, "data": asdict(memory)})
    try:
        durable.write(file, text)
    except OSError:
        spare.write_text(text)
    else:
        spare.unlink(missing_ok=True)
