"""`make soak`: measure again what is stale, oldest first, one test a process.

python -m bench.soak [MINUTES]

A test starts only if it can end within the budget of minutes, 60 by default, by the time that it
took before. Run it again to continue: fresh results are skipped. Exits with 1 if a test failed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

from bench import results

BUDGET = 60  # minutes
UNKNOWN = 600  # seconds, for a test that was not timed yet
NEVER = datetime.min.replace(tzinfo=UTC)
COLLECT = ["pytest", "--collect-only", "-q", "-m", "kept", "tests/soak"]
# Results of programs that are no tests.
PROGRAMS = {
    "app/soak": ("bench.soak_app",),
    "serving/tutorials": ("bench.serving", "tutorials"),
    "serving/workers-1": ("bench.serving", "workers-1"),
    "serving/workers-2": ("bench.serving", "workers-2"),
}
Arguments = Sequence[str]


@dataclass(frozen=True)
class Measurement:
    """A result that is to be measured, by `python -m ARGUMENTS`; `seconds` that it may take."""

    name: str
    arguments: Arguments
    measured: datetime
    seconds: float


@dataclass
class Tally:
    """What a soak did."""

    passed: int = 0
    failed: int = 0
    left: int = 0


def collected() -> dict[str, Arguments]:
    """Return what measures each result, by its name; raises CalledProcessError."""
    command = [sys.executable, "-m", *COLLECT]
    listed = subprocess.run(
        command, cwd=results.PROJECT, check=True, stdout=subprocess.PIPE, text=True
    )
    nodes = [line for line in listed.stdout.splitlines() if "::" in line]
    return {**{results.name_of(node): ("pytest", "-q", node) for node in nodes}, **PROGRAMS}


def stale(known: Mapping[str, Arguments]) -> list[Measurement]:
    """Return the measurements without a fresh result, oldest first; never measured is oldest."""
    found = []
    for name, arguments in known.items():
        result = results.load(name)
        if result is None:
            found.append(Measurement(name, arguments, NEVER, UNKNOWN))
        elif result.changed:
            seconds = UNKNOWN if result.seconds is None else result.seconds
            found.append(Measurement(name, arguments, result.measured, seconds))
    return sorted(found, key=lambda measurement: measurement.measured)


def run(
    queue: Iterable[Measurement],
    budget: float,
    measure: Callable[[Measurement], str],
    clock: Callable[[], float] = time.monotonic,
) -> Tally:
    """Measure in order what fits into a budget of seconds; print a line for each.

    `measure` returns what went wrong, or nothing.
    """
    tally, start = Tally(), clock()
    for measurement in queue:
        begin = clock()
        if begin - start + measurement.seconds > budget:
            tally.left += 1
            continue
        print(f"{measurement.name}: ", end="", flush=True)
        problem = measure(measurement)
        print(f"{problem or 'passed'} ({_duration(clock() - begin)})", flush=True)
        if problem:
            tally.failed += 1
        else:
            tally.passed += 1
    return tally


def measured(measurement: Measurement, logs: Path) -> str:
    """Run a measurement; return what went wrong and where its output is, or nothing."""
    log = logs / f"{measurement.name.replace('/', '-')}.log"
    with log.open("wb") as output:
        code = subprocess.run(
            [sys.executable, "-m", *measurement.arguments],
            cwd=results.PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    result = results.load(measurement.name)
    if code:
        return f"FAILED, see {log}"
    if result is None or result.measured <= measurement.measured:
        return f"FAILED, it kept no result, see {log}"
    return ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def main(arguments: list[str]) -> int:
    """Measure what is stale; return 1 if something failed."""
    [minutes] = arguments or [str(BUDGET)]
    if not minutes.isdecimal():
        print(f"BUDGET={minutes}: expected whole minutes, as in BUDGET={BUDGET}.", file=sys.stderr)
        return 1
    known = collected()
    queue = stale(known)
    logs, begin = Path(mkdtemp(prefix="onebox-soak-")), time.monotonic()
    tally = run(queue, int(minutes) * 60, lambda measurement: measured(measurement, logs))
    print(
        f"{tally.passed} passed, {tally.failed} failed in {_duration(time.monotonic() - begin)};"
        f" {tally.left} left for the next make soak."
    )
    longest = max((measurement.seconds for measurement in queue), default=0)
    if longest > int(minutes) * 60:
        print(f"The longest takes {_duration(longest)}: make soak BUDGET={-(-longest // 60):.0f}")
    for orphan in sorted({*results.names()} - known.keys()):
        print(f"No test measures {orphan}: delete bench/results/{orphan}.json.")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
