"""A provisioned copy of a host with the probe on it, for tests that break it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.probed import Probed
from tests.lab_server import Server

SEED = int(os.environ.get("ONEBOX_SEED", random.SystemRandom().randrange(10_000)))


def pytest_report_header() -> str:
    """Print the seed of the random choices."""
    return f"faults: ONEBOX_SEED={SEED}"


@pytest.fixture(scope="session")
def chance() -> random.Random:
    """The source of random choices, which makes a run repeatable."""
    return random.Random(SEED)  # noqa: S311 - not for secrets


@pytest.fixture(scope="module")
def probe(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe, released once."""
    probed = Probed.on(copy("12", settle=False), tmp_path_factory.mktemp("probe"))
    probed.release()
    return probed


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """The file for a load's samples."""
    return tmp_path / "load.csv"
