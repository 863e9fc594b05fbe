"""Half an hour of the sample app under load and SIGKILL: its own soak tests, and what came of it.

python -m bench.soak_app            SOAK_MINUTES=3 for a short one; takes pytest's arguments
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import plots, results

COMMAND = ["../.tools/bin/uv", "run", "--frozen", "--quiet", "pytest", "-q", "-s", "-m", "soak"]


def main() -> None:
    """Run the soak, keep its figures, draw the memory."""
    with TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        environment = {key: text for key, text in os.environ.items() if key != "VIRTUAL_ENV"}
        subprocess.run(
            [*COMMAND, *sys.argv[1:]],
            cwd=results.PROJECT / "app",
            env=environment | {"SOAK_RESULT": str(told)},
            check=True,
        )
        figures = json.loads(told.read_text())
    results.record("app/soak", **figures)
    plots.memory(results.FOLDER / "app" / "soak.png", figures["memory"])


if __name__ == "__main__":
    main()
