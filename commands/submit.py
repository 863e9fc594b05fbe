"""Releasing with a deploy key, which can do nothing else: no inventory, no secret is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from invoke.exceptions import Exit
from pyinfra.api.exceptions import PyinfraError

from commands.inventory import REFUSED
from commands.server import FAILED
from operations.artifact import pack
from operations.lock import WAIT

USER = "onebox-deploy"
BROKEN = 255  # ssh's own exit code: there was no answer
CUT = (
    "No connection, or it was cut: it could not be told what came of this. A switch that had begun"
    " goes on by itself. Submit again: what is live already is left alone."
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
    request += "" if wait == WAIT else f" wait={wait}"  # an older server takes no number
    command = ["ssh", *config, *options, f"{USER}@{address}", request]
    code = subprocess.run(command, input=artifact.content, check=False).returncode
    if code == BROKEN:
        print(CUT, file=sys.stderr)
        return FAILED
    return code
