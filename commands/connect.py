"""A connection to a server as in a deploy, for read-only commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import ERROR
from typing import Any

from pyinfra import logger
from pyinfra.api import Config, Inventory, State
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_state


@contextmanager
def connected(name: str, data: Mapping[str, Any]) -> Iterator[tuple[State, Host]]:
    """Prepare operations and query facts on one server of the inventory; execute nothing.

    Raises PyinfraError if it can't be reached.
    """
    logger.setLevel(ERROR)  # hides the preflight's warnings, which `fab preflight` prints itself
    state = State(Inventory(([(name, dict(data))], {})), Config(), check_for_changes=False)
    [host] = state.inventory
    host.connect(show_errors=False, raise_exceptions=True)
    state.activate_host(host)
    try:
        with ctx_state.use(state), ctx_host.use(host):
            yield state, host
    finally:
        host.disconnect()
