"""Hosts for tests: one deployed host for each Debian, and copies of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.layout import this_lab
from tests.lab_server import Server, lab

# A sudo user on one and root on the other; `make soak-main` tests all four combinations.
USERS = {"12": "debian", "13": "root"}
PREFIX = f"t{os.getpid()}"
# Subdomains of the app's domain that also point at a copy.
MORE = ("www", "echo")


@dataclass
class Hosts:
    """The lab hosts of a test run. The lab removes them when it ends, killed or not."""

    folder: Path
    servers: dict[str, Server] = field(default_factory=dict)
    deployed: set[str] = field(default_factory=set)
    snapshots: set[str] = field(default_factory=set)
    booted: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def bare(self, debian: str) -> Server:
        """Return the host of a Debian: bare until `provisioned` is called."""
        if debian not in self.servers:
            name = self.up(f"{PREFIX}-{debian}", "--debian", debian)
            self.servers[debian] = Server.of(name, self.folder, USERS[debian])
        return self.servers[debian]

    def provisioned(self, debian: str) -> Server:
        """Return the same host after a first deploy."""
        server = self.bare(debian)
        if debian not in self.deployed:
            server.deploy()
            self.deployed.add(debian)
        return server

    def copy(self, debian: str, *options: str, settle: bool = True) -> Server:
        """Return a copy of a provisioned host, which may be broken; `settle` makes a second deploy
        change nothing."""
        origin = self.provisioned(debian)
        snapshot = f"{PREFIX}-{debian}"
        if snapshot not in self.snapshots:
            lab("snapshot", origin.host.name, snapshot)
            self.snapshots.add(snapshot)
            origin.seconds_until_ready(30)
        names = (f"--domain={more}.{origin.domain}" for more in MORE)
        name = f"{PREFIX}-{debian}-{next(self.numbers)}"
        self.up(name, "--from", snapshot, *names, *options)
        server = Server.of(name, self.folder, USERS[debian], domain=origin.domain)
        server.seconds_until_ready(30)
        if settle:
            server.deploy()  # monitoring's messages name the host
        return server

    def drop(self, name: str) -> None:
        """Remove one host."""
        lab("down", name)
        self.booted.remove(name)

    def down(self) -> None:
        """Remove all hosts and snapshots of this run."""
        for name in [*self.booted]:
            self.drop(name)
        for snapshot in self.snapshots:
            lab("forget", snapshot)

    def up(self, name: str, *options: str) -> str:
        """Boot a host of this run; return its name."""
        self.booted.append(name)
        lab("up", name, "--owner", str(os.getpid()), *options)
        return name


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record whether a test failed, apart from its fixtures."""
    report = yield
    if report.when == "call":  # type: ignore[attr-defined]
        item.stash[FAILED] = report.failed  # type: ignore[attr-defined]
    return report


@pytest.fixture(autouse=True)
def _restore_settings_after_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Restore the settings of all servers after a failed test, so that the next test, which deploys
    them, does not fail too."""
    saved = [(server, deepcopy(server.entry)) for server in Server.instances]
    yield
    if request.node.stash.get(FAILED, False):
        for server, entry in saved:
            server.entry = entry


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The hosts of this run; snapshots of killed runs are deleted first."""
    forget_dead_runs()
    hosts = Hosts(tmp_path_factory.mktemp("hosts"))
    yield hosts
    hosts.down()


def forget_dead_runs() -> None:
    """Delete the snapshots of killed runs; the lab removes their hosts itself."""
    for snapshot in (this_lab().cache / "snapshots").glob("t*-*"):
        pid = snapshot.name[1:].partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with suppress(AssertionError):  # another run forgot it first
                lab("forget", snapshot.name)


@pytest.fixture(params=USERS, ids=lambda debian: f"debian{debian}", scope="session")
def server(request: pytest.FixtureRequest, hosts: Hosts) -> Server:
    """A deployed host of each Debian, for tests that leave it unchanged."""
    return hosts.provisioned(request.param)


@pytest.fixture(scope="module")
def copy(hosts: Hosts) -> Iterator[Callable[..., Server]]:
    """Copies a deployed host, for tests that change or break it."""
    copies: list[str] = []

    def make(debian: str, *options: str, settle: bool = True) -> Server:
        server = hosts.copy(debian, *options, settle=settle)
        copies.append(server.host.name)
        return server

    yield make
    for name in copies:
        hosts.drop(name)
