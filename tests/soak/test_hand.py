"""`make soak-hand`: everything that people change by hand is told, and mended, on both Debians."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.drifts import DRIFTS, see_and_mend
from tests.server import Server


@pytest.mark.parametrize("debian", ["12", "13"])
def test_everything_changed_by_hand_is_told_and_mended(
    copy: Callable[..., Server],
    figures: dict[str, Any],
    subtests: pytest.Subtests,
    debian: str,
) -> None:
    server = copy(debian)
    pairs: dict[str, dict[str, Any]] = {}
    for what in DRIFTS:
        with subtests.test(what):
            begin = time.monotonic()
            told = see_and_mend(server, what)
            pairs[what] = {"told": told, "seconds": round(time.monotonic() - begin, 1)}
    figures["pairs"] = pairs
    assert len(pairs) == len(DRIFTS)
