"""Whether the server can take a deploy, before anything is changed."""

import sys

from pyinfra import host, logger
from pyinfra.api.deploy import deploy

from preflight.facts import observe
from preflight.rules import problems, refusal, warnings
from settings import REFUSED, VM
from tasks.system import packages


@deploy("Preflight")
def preflight() -> None:
    """Look at the server, and end with exit code 4 where something stands in the way.

    No operation: it is done as this file is read, so before the first operation, and by --dry too.
    """
    vm: VM = host.data.vm
    server, external = observe(host, vm, packages(vm))
    if found := problems(vm, server, external):
        logger.error(refusal(host.name, found))
        sys.exit(REFUSED)
    for warning in warnings(server, external):
        logger.warning(f"{host.print_prefix}{warning}")
