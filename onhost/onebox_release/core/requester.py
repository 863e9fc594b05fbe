"""Who asked for a deploy or a rollback."""

from __future__ import annotations

import getpass
import os

from onebox_release.host import lock

KEY = "A deploy key of"  # before the app's name
VARIABLE = "ONEBOX_WHO"  # carries the answer into the unit that does the work


def requester() -> str:
    """Return who holds the server's lock, as a deployer does, or who runs this by hand."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if holder := lock.holder():
        return holder
    return os.environ.get("SUDO_USER") or getpass.getuser()
