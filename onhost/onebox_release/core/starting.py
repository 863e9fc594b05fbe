"""How long a starting release is waited for, and what is said of one that does not get ready."""

from __future__ import annotations

import http.client
import math
import time
from collections import deque
from dataclasses import dataclass, field

from onebox_release.app import Release
from onebox_release.core import unit_states
from onebox_release.errors import ReleaseError
from onebox_release.host import systemd
from onebox_release.report import cause, last_lines

POLL = 0.1  # seconds between two checks of a starting release
STEADY = 5  # seconds of the same 4xx after which it is the app's answer, not its start
# Said by proxies and by apps that are busy: not about the path or the request.
PASSING = {408, 421, 423, 425, 429}
WINDOW, WORK = 5.0, 0.1  # seconds; and seconds of CPU in them by which a start goes on
STRETCH = 5  # times start_timeout, for a start that goes on
PATIENT = 3600  # seconds, for one that goes on and was live before
HINTS = {
    400: "The app refuses the request: its allowed hosts (Django: ALLOWED_HOSTS) need {domain}",
    404: "`health` names a path that the app does not have: set `health`",
}
HINT = "`health` must name a path that answers 200 without a login: set `health`"


def wait(release: Release, *, patient: bool, cursor: str) -> None:
    """Wait until a release that was just started answers, and goes on to for `settle` seconds.

    `patient` is for a release that was live before: it does not fail for slowness alone.
    Raises ReleaseError with its log since `cursor`.
    """
    start = _Start(release, patient=patient)
    if problem := start.problem():
        unit = release.unit("web")
        log = systemd.journal(unit, after=cursor)
        if problem.endswith((unit_states.CRASHED, unit_states.KILLED, unit_states.FAILED)):
            problem += cause(log)
        elif "WORKER TIMEOUT" in log:
            problem += ".\nGunicorn killed a worker after `timeout` of `web` without a sign of life"
        lines = last_lines(log) if log.strip() else "It logged nothing."
        raise ReleaseError(f"Release {release} {problem}.\n{lines}")


def problem_after_start(release: Release) -> str:
    """Return why the live release does not serve, or nothing; one that is starting has time to."""
    state = systemd.show(release.unit("web"), "ActiveState", "InactiveExitTimestamp")
    begun = float((state.get("InactiveExitTimestamp") or "").removeprefix("@") or 0)
    missing = not release.socket.exists()
    if state.get("ActiveState") in {"active", "activating"} and not missing:
        deadline = begun + release.app.parameters.start_timeout
        while time.time() < deadline and unit_states.probe(release, 1).problem:
            time.sleep(POLL)
    return unit_states.live_problem(release)


@dataclass
class _Work:
    """The CPU time of a unit, lately."""

    unit: str
    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def goes_on(self) -> bool:
        """Check whether the unit used the CPU in the last seconds; called all along."""
        now = time.monotonic()
        if not self.samples or now - self.samples[-1][0] >= 1:
            self.samples.append((now, systemd.cpu_time(self.unit)))
        while len(self.samples) > 1 and now - self.samples[1][0] >= WINDOW:
            self.samples.popleft()
        return self.samples[-1][1] - self.samples[0][1] >= WORK


class _Start:
    """One start of a release."""

    def __init__(self, release: Release, *, patient: bool) -> None:
        self.release, self.parameters = release, release.app.parameters
        self.unit = release.unit("web")
        self.limit = self.parameters.start_timeout
        self.most = max(self.limit * STRETCH, PATIENT if patient else 0)

    def problem(self) -> str:
        """Return what went wrong, as the rest of a sentence about the release; or nothing."""
        if problem := self._until_ready():
            return problem
        settled = time.monotonic() + self.parameters.settle
        while time.monotonic() < settled:
            time.sleep(POLL)
            seen = unit_states.probe(self.release)
            if problem := unit_states.crash(self.unit) or seen.problem:
                return f"did not become ready: {problem}"
        return ""

    def _until_ready(self) -> str:
        begun, refused = time.monotonic(), (0, math.inf)  # the last 4xx, and since when
        work = _Work(self.unit)
        while True:
            # Little patience: a starting app's socket takes connections long before they are
            # answered, and a long wait would only see a crash later.
            seen = unit_states.probe(self.release, 1)
            if crash := unit_states.crash(self.unit):  # says more than no answer
                return f"did not become ready: {crash}"
            if not seen.problem:
                return ""
            goes_on, now = work.goes_on(), time.monotonic()
            if seen.status != refused[0]:
                refused = seen.status, now
            if _is_refusal(seen.status) and now - refused[1] >= STEADY:
                return f"did not become ready: {seen.problem}.\n{self._hint(seen.status)}"
            took = now - begun
            is_slow = not seen.status and goes_on
            if took >= self.limit and not is_slow:
                return (
                    f"did not become ready within {self.limit} s (`start_timeout`): {seen.problem}"
                )
            if took >= self.most:
                return (
                    f"was still starting after {took:.0f} s, using the CPU: {seen.problem}."
                    f"\nRaise `start_timeout` (now {self.limit} s), or have it do less at its start"
                )
            time.sleep(POLL)

    def _hint(self, status: int) -> str:
        path = self.release.health_path
        hint = HINTS.get(status, HINT).format(domain=self.parameters.domains[0])
        return f"{hint} (now {path!r})" if "`health`" in hint else f"{hint}, or set `health`"


def _is_refusal(status: int) -> bool:
    refused = http.client.BAD_REQUEST <= status < http.client.INTERNAL_SERVER_ERROR
    return refused and status not in PASSING
