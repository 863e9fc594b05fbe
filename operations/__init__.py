"""pyinfra operations of our own, and their facts."""

import sys
from pathlib import Path

# The deployer shares dataclasses with the programs on the server, which import by these names.
sys.path.append(str(Path(__file__).resolve().parent.parent / "onhost"))
