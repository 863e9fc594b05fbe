"""The apps' code, released on the server."""

import sys

from pyinfra import host, logger
from pyinfra.api.deploy import deploy
from pyinfra.api.hiddenvalue import HiddenValue

from operations import release
from operations.artifact import Artifact, pack
from settings import VM
from settings.app import App
from settings.exit_codes import REFUSED


@deploy("Releases")
def releases() -> None:
    """Release each app's code as it is in its folder.

    A failure does not stop the other apps; the end of the run reports it. `--data digest=...` is
    the digest that the code must have, such as one tested on staging; `--data code=keep` keeps the
    live release's code and changes only its configuration.
    """
    vm: VM = host.data.vm
    keeps_code = _keeps_code()
    for app in host.loop(vm.chosen(host.data.get("app"))):
        release.outcomes[host.name, app.name] = release.deploy(
            name=f"Release {app.name}",
            app=app.name,
            artifact=None if keeps_code else _expected_artifact(vm, app),
            credentials=HiddenValue(app.credentials),
            _ignore_errors=True,
        )


def _keeps_code() -> bool:
    """Return whether to keep the live code; exit with code 4 for an invalid `code`."""
    code = host.data.get("code")
    if code not in {None, "keep"} or (code and host.data.get("digest")):
        logger.error(
            f"{host.print_prefix}--data code={code}: expected `keep`, without --data digest."
            " Nothing was changed."
        )
        sys.exit(REFUSED)
    return bool(code)


def _expected_artifact(vm: VM, app: App) -> Artifact:
    """Return an app's artifact; exit with code 4 if `--data digest` lists others.

    It warns, before any change, if the artifact replaces code that a deploy key released.
    """
    artifact = pack(app.source)
    if any(app.name in key.apps for key in vm.deploy_keys):
        plan = host.get_fact(release.PlanFact, app=app.name, digest=artifact.digest)
        if plan and plan.reverts_a_key:
            logger.warning(
                f"{host.print_prefix}This deploy replaces the code of {app.name} that a deploy key"
                f" released (release {plan.live}): {release.KEEP}."
            )
    expected = str(host.data.get("digest") or artifact.digest)
    if artifact.digest not in expected.split(","):
        digests = " or ".join(digest[:12] for digest in expected.split(","))
        logger.error(
            f"{host.print_prefix}{app.source} has digest {artifact.digest[:12]}, not {digests}."
            " Nothing was changed. Fix: check out the commit that was tested."
        )
        sys.exit(REFUSED)
    return artifact
