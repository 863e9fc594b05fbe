"""What several kinds of tests share."""

import sys
from pathlib import Path

# The program that runs on the server, as it is found there.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "onhost"))

pytest_plugins = ["tests.lab_hosts"]
