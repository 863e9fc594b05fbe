"""Checks whether the server can take a deploy, before it changes anything."""

import sys

from pyinfra import host, logger
from pyinfra.api.deploy import deploy

from preflight.facts import observe
from preflight.rules import problems, refusal, warnings
from settings import VM
from settings.exit_codes import REFUSED
from tasks.system import packages


@deploy("Preflight")
def preflight() -> None:
    """Check the server, and end with exit code 4 if it can't take a deploy.

    Not an operation: it runs while pyinfra reads deploy.py, before the first operation and with
    --dry.
    """
    vm: VM = host.data.vm
    server, external = observe(host, vm, packages(vm))
    if found := problems(vm, server, external):
        logger.error(refusal(host.name, found))
        sys.exit(REFUSED)
    for warning in warnings(server, external):
        logger.warning(f"{host.print_prefix}{warning}")
