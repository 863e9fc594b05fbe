"""Which environment a server belongs to."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import environment as environments
from settings import VM


@deploy("Environment")
def environment() -> None:
    """Keep one environment's settings away from another's server."""
    vm: VM = host.data.vm
    environments.remembered(name="See that the server is what it is", environment=vm.environment)
