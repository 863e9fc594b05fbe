"""The server's environment, such as staging or production."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import environment as environments
from settings import VM


@deploy("Environment")
def environment() -> None:
    """Refuse settings of another environment."""
    vm: VM = host.data.vm
    environments.check(name="Check the server's environment", environment=vm.environment)
