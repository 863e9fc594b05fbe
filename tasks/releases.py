"""The code: sent to the server, and switched to there."""

from pyinfra import host
from pyinfra.api.deploy import deploy
from pyinfra.api.hiddenvalue import HiddenValue

from operations import release
from operations.artifact import pack
from settings import VM


@deploy("Releases")
def releases() -> None:
    """Make each app's code, as it is in its folder, the live release.

    One that fails keeps none of the others from theirs; the end of the run tells of it.
    """
    vm: VM = host.data.vm
    for app in host.loop(vm.chosen(host.data.get("app"))):
        release.outcomes[host.name, app.name] = release.live(
            name=f"Release {app.name}",
            app=app.name,
            artifact=pack(app.source),
            credentials=HiddenValue(app.credentials),
            _ignore_errors=True,
        )
