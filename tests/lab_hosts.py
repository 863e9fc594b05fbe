"""Hosts for the end-to-end tests: each Debian provisioned from bare once, then copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server import Server, lab

# A sudo user on one and root on the other; `make soak-main` has all four.
USERS = {"12": "debian", "13": "root"}
# Names below the app's domain that lead to a copy, too.
MORE = ("www", "echo")
PREFIX = f"t{os.getpid()}"


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Bare hosts, by Debian's version. They go when this run goes, killed or not."""
    folder = tmp_path_factory.mktemp("inventories")
    names = {debian: f"{PREFIX}-{debian}" for debian in USERS}
    try:
        for debian, name in names.items():
            lab("up", name, "--debian", debian, "--owner", str(os.getpid()))
        yield {debian: Server.of(name, folder, USERS[debian]) for debian, name in names.items()}
    finally:
        for name in names.values():
            lab("down", name)


@pytest.fixture(scope="session")
def provisioned(bare: dict[str, Server]) -> dict[str, Server]:
    """The same hosts after a first deploy; both at once, it is the longest step of a run."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(Server.deploy, bare.values()))
    return bare


@pytest.fixture(params=USERS, ids=lambda debian: f"debian{debian}", scope="session")
def server(request: pytest.FixtureRequest, provisioned: dict[str, Server]) -> Server:
    """A deployed host of each Debian, for tests that leave it as it was."""
    return provisioned[request.param]


@pytest.fixture(scope="session")
def copy(
    provisioned: dict[str, Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Makes copies of a deployed host, for tests that change or break it."""
    snapshots: dict[str, str] = {}
    made: list[str] = []
    folder: Path = tmp_path_factory.mktemp("copies")

    def make(debian: str, *options: str) -> Server:
        origin = provisioned[debian]
        if debian not in snapshots:
            lab("snapshot", origin.host.name, f"{PREFIX}-{debian}")
            snapshots[debian] = f"{PREFIX}-{debian}"
        made.append(f"{PREFIX}-{debian}-{len(made)}")
        names = (f"--domain={more}.{origin.domain}" for more in MORE)
        owner = ("--owner", str(os.getpid()))
        lab("up", made[-1], "--from", snapshots[debian], *owner, *names, *options)
        made_server = Server.of(made[-1], folder, USERS[debian], domain=origin.domain)
        made_server.seconds_until_ready(30)
        return made_server

    yield make
    for name in made:
        lab("down", name)
    for snapshot in snapshots.values():
        lab("forget", snapshot)
