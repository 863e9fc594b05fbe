"""What on a server differs from what the repository wants: a deploy's dry run, told in words."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_state

from operations.difference import Difference, mended

DEPLOY = Path(__file__).resolve().parent.parent / "deploy.py"


def drift(name: str, data: Mapping[str, Any]) -> list[Difference]:
    """Return what the next deploy would mend on a server, and change nothing.

    Raises PyinfraError where the server can't be looked at.
    """
    state = State(Inventory(([(name, dict(data))], {})), Config(), check_for_changes=False)
    [host] = state.inventory
    connect_all(state)
    if host not in state.active_hosts:
        raise PyinfraError(f"{name} does not let us in: try `ssh` with the same settings.")
    try:
        with ctx_state.use(state), ctx_host.use(host):
            runpy.run_path(str(DEPLOY))
            # Each once: nginx comes twice in a deploy.
            return list(dict.fromkeys(_differences(state, host)))
    finally:
        host.disconnect()


def _differences(state: State, host: Host) -> Iterator[Difference]:
    for key in host.op_hash_order:
        commands = list(state.get_op_data_for_host(host, key).command_generator())
        told = [difference for command in commands for difference in mended(command)]
        if commands and not told:
            told = [Difference(next(iter(state.get_op_meta(key).names)), "would change something")]
        yield from told
