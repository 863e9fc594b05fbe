"""`make soak-hand`: every kind of drift is reported and fixed, on both Debians."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.drifts import DRIFTS, DriftReport, break_and_repair, drift
from tests.e2e.test_6_drift import KEY
from tests.lab_server import Server


@pytest.mark.parametrize("debian", ["12", "13"])
def test_every_drift_is_reported_and_fixed(
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
            reported = break_and_repair(server, what)
            pairs[what] = {"told": reported, "seconds": round(time.monotonic() - begin, 1)}
    figures["pairs"] = pairs
    assert len(pairs) == len(DRIFTS)


def test_listed_keys_replace_all_others_and_lock_nobody_out(
    copy: Callable[..., Server], figures: dict[str, Any]
) -> None:
    server = copy("13")  # its inventory's user is root, whose file is edited here
    own = server.run("grep -v '^#' ~/.ssh/authorized_keys | tail -n 1").split()
    server.entry["authorized_keys"] = [" ".join(own[:2])]
    server.deploy()
    assert drift(server) == DriftReport(0, [], [])
    server.run(f"echo '{KEY}' >> ~/.ssh/authorized_keys")
    found = drift(server)
    assert (found.code, len(found.deploy), found.person) == (2, 1, [])
    server.deploy()
    assert KEY not in server.run("cat ~/.ssh/authorized_keys")
    assert drift(server) == DriftReport(0, [], [])
    server.entry["authorized_keys"] = [KEY]
    result = server.pyinfra("-y")
    assert result.returncode != 0
    assert "It reverts this change within" in result.stderr
    begin = time.monotonic()
    server.wait_for("true", 80)
    figures["seconds_locked_out"] = round(time.monotonic() - begin, 1)
    server.entry["authorized_keys"] = [" ".join(own[:2])]
    assert server.deploy()["success"] == []
