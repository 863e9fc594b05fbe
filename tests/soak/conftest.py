"""The long tests. Each keeps its figures under bench/results/ and is skipped while they are fresh:
an interrupted soak resumes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import results
from tests.faults.conftest import csv, probe
from tests.faults.probed import Probed
from tests.lab_server import Server

__all__ = ["csv", "probe"]  # fixtures of the fault tests
SEED = int(os.environ.get("ONEBOX_SEED", "20261120"))


@pytest.fixture
def chance() -> random.Random:
    """The source of random choices: the same each time, unless ONEBOX_SEED is set."""
    return random.Random(SEED)  # noqa: S311 - not for secrets


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A test's figures; kept under the test's name if it passes."""
    name = results.name_of(request.node.nodeid)
    if results.is_fresh(name):
        pytest.skip(f"bench/results/{name}.json is fresh")
    found: dict[str, Any] = {}
    yield found
    if request.node.stash.get(PASSED, False):
        took = time.monotonic() - request.node.stash[BEGUN]
        results.record(name, took, seed=SEED, **found)


BEGUN = pytest.StashKey[float]()
PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark by which `make soak` finds its tests."""
    config.addinivalue_line("markers", "kept: the test keeps its figures under bench/results/")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that keep a result."""
    for item in items:
        if "figures" in getattr(item, "fixturenames", ()):
            item.add_marker("kept")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Record when a test begins, before its hosts boot."""
    item.stash[BEGUN] = time.monotonic()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record whether the test passed, apart from its fixtures."""
    report = yield
    if report.when == "call":  # type: ignore[attr-defined]
        item.stash[PASSED] = report.passed  # type: ignore[attr-defined]
    return report


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder for a test's raw samples and plots, beside its figures."""
    path = results.FOLDER / results.name_of(request.node.nodeid)
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def disk_probe(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe on a host with its own disk, for power cuts and full disks."""
    probed = Probed.on(copy("12", "--disk", "6G"), tmp_path_factory.mktemp("disk"))
    probed.release()
    return probed
