"""The lab's inventory: each running host, as a user would describe a server.

ONEBOX_LAB_USER is the user to connect as: root, or debian, who may use sudo.
"""

import os
import sys
from pathlib import Path

from lab.hosts import running
from lab.inventory_entry import entry
from settings import servers

_user = os.environ.get("ONEBOX_LAB_USER", "root")
_project = Path(__file__).resolve().parent.parent

hosts = servers(
    *(entry(host, _user) for host in running()),
    beside=str(_project / "inventory.py"),
)
if not hosts:
    print("No lab host is running. Create one: python -m lab up", file=sys.stderr)
    sys.exit(4)
