"""Whether a server can take a deploy: facts.py observes it, rules.py judges the observation."""

import sys
from pathlib import Path

# The deployer shares dataclasses with the programs that it sends to the server.
sys.path.append(str(Path(__file__).resolve().parent.parent / "onhost"))
