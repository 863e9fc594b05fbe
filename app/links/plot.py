"""Clicks by day as bars, in numbers for an SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

HEIGHT = 120
STEP = 20  # from one day's bar to the next


@dataclass(frozen=True, slots=True)
class Bar:
    """A day's bar, and what to say of it."""

    x: int
    y: int
    height: int
    label: str


def bars(days: Sequence[tuple[date, int]]) -> list[Bar]:
    """A bar for each day, the highest as high as the plot."""
    most = max((clicks for _, clicks in days), default=0) or 1
    made = []
    for n, (day, clicks) in enumerate(days):
        # One click among thousands is still to be seen.
        height = max(round(clicks / most * HEIGHT), 2 if clicks else 0)
        made.append(Bar(n * STEP, HEIGHT - height, height, f"{day:%-d %B}: {clicks}"))
    return made
