"""The code: sent to the server, and switched to there."""

import sys

from pyinfra import host, logger
from pyinfra.api.deploy import deploy
from pyinfra.api.hiddenvalue import HiddenValue

from app_settings import App
from operations import release
from operations.artifact import Artifact, pack
from settings import REFUSED, VM


@deploy("Releases")
def releases() -> None:
    """Make each app's code, as it is in its folder, the live release.

    One that fails keeps none of the others from theirs; the end of the run tells of it. `--data
    digest=...` says what it must be, when another server has run it already.
    """
    vm: VM = host.data.vm
    for app in host.loop(vm.chosen(host.data.get("app"))):
        release.outcomes[host.name, app.name] = release.live(
            name=f"Release {app.name}",
            app=app.name,
            artifact=_promised(app),
            credentials=HiddenValue(app.credentials),
            _ignore_errors=True,
        )


def _promised(app: App) -> Artifact:
    """Return an app's artifact; exit with code 4 if it isn't one of those that were promised."""
    artifact = pack(app.source)
    promised = str(host.data.get("digest") or artifact.digest)
    if artifact.digest not in promised.split(","):
        logger.error(
            f"{host.print_prefix}{app.source} is artifact {artifact.digest[:12]}, and"
            f" {promised[:12]} was promised. Check out the commit that was tried. Nothing was done."
        )
        sys.exit(REFUSED)
    return artifact
