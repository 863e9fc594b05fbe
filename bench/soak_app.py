"""Run the sample app's soak tests, half an hour of load and SIGKILL, and keep the result.

python -m bench.soak_app            SOAK_MINUTES=3 for a short one; takes pytest's arguments
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import plots, results

COMMAND = [
    "../.tools/bin/uv",
    "run",
    "--frozen",
    "--quiet",
    "pytest",
    "-q",
    "-s",
    "-m",
    "soak",
    "-o",
    "faulthandler_timeout=0",
]


def main() -> None:
    """Run the soak, keep its figures, draw the memory."""
    with TemporaryDirectory() as folder:
        written, begin = Path(folder, "figures.json"), time.monotonic()
        environment = {key: text for key, text in os.environ.items() if key != "VIRTUAL_ENV"}
        subprocess.run(
            [*COMMAND, *sys.argv[1:]],
            cwd=results.PROJECT / "app",
            env=environment | {"SOAK_RESULT": str(written)},
            check=True,
        )
        figures = json.loads(written.read_text())
    results.record("app/soak", time.monotonic() - begin, **figures)
    plots.memory(results.FOLDER / "app" / "soak.png", figures["memory"])


if __name__ == "__main__":
    main()
