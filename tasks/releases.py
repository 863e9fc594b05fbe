"""The code: sent to the server, and switched to there."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import release
from operations.artifact import pack
from settings import VM


@deploy("Releases")
def releases() -> None:
    """Make each app's code, as it is in its folder, the live release."""
    vm: VM = host.data.vm
    for app in host.loop(vm.apps):
        release.live(name=f"Release {app.name}", app=app.name, artifact=pack(app.source))
