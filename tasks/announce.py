"""The end of a run: where the apps are."""

from collections.abc import Generator

from pyinfra import host, logger, state
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from settings import VM


@deploy("Done")
def announce() -> None:
    """Print each app's address."""
    vm: VM = host.data.vm
    addresses(name="The apps are at", urls=[f"https://{app.domains[0]}/" for app in vm.apps])


@operation()
def addresses(urls: list[str]) -> Generator[StringCommand, None, None]:
    """Print addresses, and change nothing."""
    if state.is_executing:
        for url in urls:
            logger.info(f"{host.print_prefix}{url}")
    yield from ()
