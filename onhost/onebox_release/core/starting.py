"""How long a release may take to start, and the messages for one that does not become ready."""

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

POLL = 0.1  # seconds between two health checks of a starting release
STEADY = 5  # seconds of the same 4xx status after which it is the app's final answer
# Statuses of proxies and busy apps: they say nothing about the path or the request.
PASSING = {408, 421, 423, 425, 429}
WINDOW, WORK = 5.0, 0.1  # seconds; CPU seconds in that window from which a start is in progress
STRETCH = 5  # times start_timeout, for a start that uses the CPU
PATIENT = 3600  # seconds, for one of a release that was live before
HINTS = {
    400: "The app rejects the request: add {domain} to its allowed hosts (Django: ALLOWED_HOSTS)",
    404: "The app has no such path: set `health`",
}
HINT = "Set `health` to a path that answers 200 without a login"


def wait_until_ready(release: Release, *, patient: bool, cursor: str) -> None:
    """Wait until a started release is healthy, and stays so for `settle` seconds.

    `patient` is for a release that was live before: it does not fail only because it is slow.
    Raises ReleaseError with its log since `cursor`.
    """
    start = _Start(release, patient=patient)
    if problem := start.problem():
        unit = release.unit("web")
        log = systemd.journal(unit, after=cursor)
        if problem.endswith((unit_states.CRASHED, unit_states.KILLED, unit_states.FAILED)):
            problem += cause(log)
        elif "WORKER TIMEOUT" in log:
            problem += (
                ".\nGunicorn killed a worker that was unresponsive for the `timeout` of `web`"
            )
        lines = last_lines(log) if log.strip() else "It logged nothing."
        raise ReleaseError(f"Release {release} {problem}.\n{lines}")


def problem_after_start(release: Release) -> str:
    """Return why the live release does not serve, or "". Waits for one that is starting."""
    state = systemd.show(release.unit("web"), "ActiveState", "InactiveExitTimestamp")
    started = float((state.get("InactiveExitTimestamp") or "").removeprefix("@") or 0)
    missing = not release.socket.exists()
    if state.get("ActiveState") in {"active", "activating"} and not missing:
        deadline = started + release.app.parameters.start_timeout
        while time.time() < deadline and unit_states.probe(release, 1).problem:
            time.sleep(POLL)
    return unit_states.live_problem(release)


@dataclass
class _CpuUse:
    """The recent CPU time of a unit."""

    unit: str
    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def uses_cpu(self) -> bool:
        """Check whether the unit used the CPU in the last seconds; called continuously."""
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
        """Return what went wrong, as a clause about the release, or ""."""
        if problem := self._until_ready():
            return problem
        settled = time.monotonic() + self.parameters.settle
        while time.monotonic() < settled:
            time.sleep(POLL)
            response = unit_states.probe(self.release)
            if problem := unit_states.crash(self.unit) or response.problem:
                return f"did not become ready: {problem}"
        return ""

    def _until_ready(self) -> str:
        started, refused = time.monotonic(), (0, math.inf)  # the last status, and since when
        cpu = _CpuUse(self.unit)
        while True:
            # A short timeout: a starting app's socket accepts connections long before it answers
            # them, and a longer wait would notice a crash later.
            response = unit_states.probe(self.release, 1)
            if crash := unit_states.crash(self.unit):  # more specific than a missing answer
                return f"did not become ready: {crash}"
            if not response.problem:
                return ""
            uses_cpu, now = cpu.uses_cpu(), time.monotonic()
            if response.status != refused[0]:
                refused = response.status, now
            if _is_refusal(response.status) and now - refused[1] >= STEADY:
                return f"did not become ready: {response.problem}.\n{self._hint(response.status)}"
            took = now - started
            is_busy = not response.status and uses_cpu
            if took >= self.limit and not is_busy:
                return (
                    f"did not become ready within {self.limit} s (`start_timeout`):"
                    f" {response.problem}"
                )
            if took >= self.most:
                return (
                    f"was still starting after {took:.0f} s, using the CPU: {response.problem}."
                    f"\nRaise `start_timeout` (now {self.limit} s), or make its start faster"
                )
            time.sleep(POLL)

    def _hint(self, status: int) -> str:
        path = self.release.health_path
        hint = HINTS.get(status, HINT).format(domain=self.parameters.domains[0])
        return f"{hint} (now {path!r})" if "`health`" in hint else f"{hint}, or set `health`"


def _is_refusal(status: int) -> bool:
    refused = http.client.BAD_REQUEST <= status < http.client.INTERNAL_SERVER_ERROR
    return refused and status not in PASSING
