"""Release an app with a restricted deploy key, without an inventory or secrets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from invoke.exceptions import Exit
from pyinfra.api.exceptions import PyinfraError

from operations.artifact import pack
from operations.lock import WAIT
from settings.exit_codes import FAILED, REFUSED

USER = "onebox-deploy"
SSH_FAILED = 255  # ssh's own exit code, without one from the server
LOST = (
    "Could not connect, or the connection was lost; the result is unknown. A switch that had"
    " started continues. Submit again: it does nothing if the release is live."
)


def submit(app: str, source: str, address: str, ssh_config: str | None, wait: int = WAIT) -> int:
    """Send an app's folder to a server as its next release; return the exit code."""
    try:
        artifact = pack(Path(source))
    except PyinfraError as error:
        raise Exit(str(error), REFUSED) from None
    print(f"Submitting {app}, artifact {artifact.digest}", flush=True)
    config = ["-F", ssh_config] if ssh_config else []
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    request = f"submit {app} {artifact.digest}"
    request += "" if wait == WAIT else f" wait={wait}"  # an older server does not know the option
    command = ["ssh", *config, *options, f"{USER}@{address}", request]
    code = subprocess.run(command, input=artifact.content, check=False).returncode
    if code == SSH_FAILED:
        print(LOST, file=sys.stderr)
        return FAILED
    return code
