"""Hosts that answer with given facts, and what operations and deploys would run on them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.context import ctx_host, ctx_state
from sent.server import Listener, Observation

from operations.machine import Machine, MachineFact
from preflight import facts as observation
from settings import VM

BOOKWORM = Machine(debian="12", cores=2, memory=2000, ipv6=True, ssh_ports=(22,))
TRIXIE = Machine(debian="13", cores=2, memory=2000, ipv6=False, ssh_ports=(22,))
BARE = Observation(
    clock=time.time(),
    system="debian 12",
    architecture="x86_64",
    python="3.11.2",
    memory_available=1500,
    memory_total=2000,
    disk_free=5000,
    addresses=["203.0.113.10"],
    listeners=[Listener(22, "sshd", "1")],
    services=[],
    ufw=False,
    nginx_sites=[],
    clusters=[],
    managed={"nginx": False, "firewall": False, "postgresql": False},
    name_conflicts={"links": [], "other": []},
    time_service="chrony",
    apt_lock_holder="",
)
Facts = Mapping[Any, Any]


@dataclass(frozen=True)
class Step:
    """An operation of a deploy: its name, and the commands that it would run."""

    name: str
    commands: list[PyinfraCommand]


class Answering:
    """A host as operations see it."""

    name = "box"
    print_prefix = ""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def get_fact(self, fact: type[FactBase[Any]], **_: Any) -> Any:
        return self.facts[fact]


def commands(operation: Any, *args: Any, facts: Facts, **kwargs: Any) -> list[Any]:
    """Return the commands that an operation would run on a host with these facts."""
    with _context(ctx_host, Answering(facts)):
        return list(operation._inner(*args, **kwargs))


def deployed(
    vm: VM, *deploys: Callable[..., Any], machine: Machine = BOOKWORM, app: str | None = None
) -> list[Step]:
    """Return the steps of deploys, in order, on a host where nothing stands yet."""
    data = {"vm": vm, "_sudo": False, "app": app}
    state = State(Inventory(([("box", data)], {})), Config())
    [box] = state.inventory
    state.activate_host(box)

    def bare(fact: type[FactBase[Any]], **_: Any) -> Any:
        facts = {MachineFact: machine, observation.ServerState: replace(BARE, clock=time.time())}
        return facts[fact] if fact in facts else fact().default()

    vars(box)["get_fact"] = bare
    with _context(ctx_state, state), _context(ctx_host, box):
        for deploy in deploys:
            deploy()
        return [
            Step(
                next(iter(state.get_op_meta(key).names)),
                list(state.get_op_data_for_host(box, key).command_generator()),
            )
            for key in box.op_hash_order
        ]


def text(command: StringCommand) -> str:
    """Return what a shell would get."""
    return str(command.get_raw_value())


def stdin(command: StringCommand) -> Any:
    """Return what travels on standard input."""
    return command.connector_arguments.get("_stdin")


def run(command: StringCommand | str) -> list[str]:
    """Run a command here, as pyinfra would on a server, and return the lines that it prints."""
    script, given = (command, None) if isinstance(command, str) else (text(command), stdin(command))
    result: subprocess.CompletedProcess[str] = subprocess.run(
        ["sh", "-c", script], input=given, capture_output=True, text=True, check=True, timeout=10
    )
    return result.stdout.splitlines()


@contextmanager
def _context(context: Any, value: object) -> Iterator[None]:
    before = context.get()
    context.set(value)
    try:
        yield
    finally:
        context.set(before)
