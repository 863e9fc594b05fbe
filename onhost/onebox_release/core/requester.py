"""Who requested a deploy or rollback."""

from __future__ import annotations

import getpass
import os

from onebox_release.host import lock

KEY = "a deploy key of"  # before the app's name
VARIABLE = "ONEBOX_WHO"  # passes it to the unit of the deploy


def requester() -> str:
    """Return the holder of the server's lock, which a deployer is, or the current user."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if holder := lock.holder():
        return holder
    return os.environ.get("SUDO_USER") or getpass.getuser()
