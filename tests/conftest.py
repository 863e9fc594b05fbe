"""Fixtures and paths that several kinds of tests share."""

import sys
from pathlib import Path

# The programs that run on the server, importable as they are there.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "onhost"))

pytest_plugins = ["tests.lab_hosts"]
