"""A server as a deploy sees it, for commands that look and change nothing."""

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
    """Have operations and facts see one server of the inventory; nothing is executed.

    Raises PyinfraError where it can't be reached.
    """
    logger.setLevel(ERROR)  # a preflight's warnings are a deploy's, or told by `fab preflight`
    state = State(Inventory(([(name, dict(data))], {})), Config(), check_for_changes=False)
    [host] = state.inventory
    host.connect(show_errors=False, raise_exceptions=True)
    state.activate_host(host)
    try:
        with ctx_state.use(state), ctx_host.use(host):
            yield state, host
    finally:
        host.disconnect()
