"""Runs within the unit that installs packages, as a user who may do nothing else.

A program of its own: nothing is imported from beside it. Standard input has what to run, and the
credentials, which so reach no argument list and no property of the unit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WITH_KEY = ["ssh-agent", "sh", "-c", 'ssh-add -q - && exec "$@"', "sh"]


def main() -> int:
    """Run the commands, as long as they succeed; return the exit code of the last."""
    job = json.load(sys.stdin)
    Path(os.environ["TMPDIR"]).mkdir(exist_ok=True)
    for command in job["commands"]:
        # The key is in the memory of an agent alone, which ends with the command.
        result = subprocess.run(
            [*WITH_KEY, *command] if job["key"] else command,
            env={**os.environ, **job["environment"]},
            input=job["key"],
            text=True,
            check=False,
        )
        if result.returncode:
            return result.returncode
    for command in job["afterwards"]:  # none of a deploy's business where one fails
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
