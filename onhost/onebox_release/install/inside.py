"""Run the installation of packages within its unit, as an unprivileged user.

A program of its own that imports nothing from beside it. Commands and credentials come on standard
input, so they are in no argument list and no property of the unit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WITH_KEY = ["ssh-agent", "sh", "-c", 'ssh-add -q - && exec "$@"', "sh"]


def main() -> int:
    """Run the commands until one fails; return the last exit code."""
    job = json.load(sys.stdin)
    Path(os.environ["TMPDIR"]).mkdir(exist_ok=True)
    for command in job["commands"]:
        # The key is only in the memory of an agent, which ends with the command.
        result = subprocess.run(
            [*WITH_KEY, *command] if job["key"] else command,
            env={**os.environ, **job["environment"]},
            input=job["key"],
            text=True,
            check=False,
        )
        if result.returncode:
            return result.returncode
    for command in job["afterwards"]:  # a failure does not matter to the deploy
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
