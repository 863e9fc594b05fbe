"""A release that goes bad after the switch is put back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.probed import Probed


@pytest.mark.parametrize(
    ("kind", "why"),
    [("fails later", "requests failed"), ("dies later", "died")],
)
def test_a_release_that_goes_bad_is_put_back(probe: Probed, csv: Path, kind: str, why: str) -> None:
    before = probe.live()
    probe.server.app["watch"] = 40
    with probe.load(csv) as traffic:
        probe.become(kind)
        result = probe.deploy()
    probe.server.app["watch"] = 2
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert why in output
    assert f"Put back release {before}" in output
    assert probe.live() == before
    bad = traffic.releases - {before}
    assert len(bad) == 1
    assert {sample.release for sample in traffic.failures} <= bad | {""}
    probe.settled()
