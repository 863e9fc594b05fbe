"""The code: sent to the server, and switched to there."""

import sys

from pyinfra import host, logger
from pyinfra.api.deploy import deploy
from pyinfra.api.hiddenvalue import HiddenValue

from operations import release
from operations.artifact import Artifact, pack
from settings import REFUSED, VM
from settings.app import App


@deploy("Releases")
def releases() -> None:
    """Make each app's code, as it is in its folder, the live release.

    One that fails keeps none of the others from theirs; the end of the run tells of it. `--data
    digest=...` says what it must be, when another server has run it already; `--data code=keep`
    leaves the live release's code, and changes its configuration alone.
    """
    vm: VM = host.data.vm
    keeps = _keeps()
    for app in host.loop(vm.chosen(host.data.get("app"))):
        release.outcomes[host.name, app.name] = release.live(
            name=f"Release {app.name}",
            app=app.name,
            artifact=None if keeps else _promised(vm, app),
            credentials=HiddenValue(app.credentials),
            _ignore_errors=True,
        )


def _keeps() -> bool:
    """Tell whether the code that is live stays; exit with code 4 where that was misspelt."""
    code = host.data.get("code")
    if code not in {None, "keep"} or (code and host.data.get("digest")):
        logger.error(
            f"{host.print_prefix}--data code={code}: expected `keep`, and no `digest` beside it."
            " Nothing was done."
        )
        sys.exit(REFUSED)
    return bool(code)


def _promised(vm: VM, app: App) -> Artifact:
    """Return an app's artifact; exit with code 4 if it isn't one of those that were promised.

    Where it replaces what a deploy key brought, that is said before anything is changed.
    """
    artifact = pack(app.source)
    if any(app.name in key.apps for key in vm.deploy_keys):
        plan = host.get_fact(release.Plan, app=app.name, digest=artifact.digest)
        if plan and release.reverts_a_key(plan):
            logger.warning(
                f"{host.print_prefix}This deploy replaces the code of {app.name} that a deploy key"
                f" brought (release {plan['live']}), {release.KEEP}."
            )
    promised = str(host.data.get("digest") or artifact.digest)
    if artifact.digest not in promised.split(","):
        logger.error(
            f"{host.print_prefix}{app.source} is artifact {artifact.digest[:12]}, and"
            f" {promised[:12]} was promised. Check out the commit that was tried. Nothing was done."
        )
        sys.exit(REFUSED)
    return artifact
