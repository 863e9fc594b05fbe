"""The end of a run: whether the apps respond, and where."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import result
from settings import VM


@deploy("Done")
def announce() -> None:
    """Print each app's address, or what failed."""
    vm: VM = host.data.vm
    result.report(
        name="Check that the apps respond",
        apps=vm.chosen(host.data.get("app")),
        known=[app.name for app in vm.apps],
    )
