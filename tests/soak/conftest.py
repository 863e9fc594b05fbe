"""The long tests. Each keeps its figures under bench/results/, and is passed over while they are
fresh: so an interrupted soak goes on where it stopped."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import results
from tests.faults.conftest import csv, probe
from tests.faults.probed import Probed
from tests.server import Server

__all__ = ["csv", "probe"]  # fixtures that the shorter tests have, too
SEED = int(os.environ.get("ONEBOX_SEED", "20261120"))


@pytest.fixture
def chance() -> random.Random:
    """The source of every choice; the same each time, unless ONEBOX_SEED says otherwise."""
    return random.Random(SEED)  # noqa: S311 - not for secrets


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a test has to tell; kept under the test's name if it passes."""
    name = result_of(request.node)
    if results.is_fresh(name):
        pytest.skip(f"bench/results/{name}.json is fresh")
    told: dict[str, Any] = {}
    yield told
    report = request.node.stash.get(PASSED, None)
    if report:
        results.record(name, seed=SEED, **told)


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember whether a test's own part went well."""
    report = yield
    if report.when == "call":  # type: ignore[attr-defined]
        item.stash[PASSED] = report.passed  # type: ignore[attr-defined]
    return report


def result_of(item: pytest.Item) -> str:
    """Return where a test's figures are kept, as in releases/25-deploys-under-load."""
    kind = Path(item.path).stem.removeprefix("test_")
    name = re.sub(r"[^a-z0-9]+", "-", item.name.removeprefix("test_").lower()).strip("-")
    return f"{kind}/{name}"


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """Where a test keeps raw samples and plots, beside its figures."""
    path = results.FOLDER / result_of(request.node)
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def disk_probe(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe on a disk of its own, for power cuts and full disks."""
    probed = Probed.on(copy("12", "--disk", "6G"), tmp_path_factory.mktemp("disk"))
    probed.release()
    return probed
