"""What a deploy key may do now: root's file, by which sshd lets it in, says so.

sshd reads it once a connection. A connection may stay open for days, and a submission may wait for
hours: so the file is read again for each request, and when a deploy begins.
"""

from __future__ import annotations

import re
from pathlib import Path

from onebox_release.errors import LockedError, RefusedError
from onebox_release.host import lock

FILE = Path("/etc/onebox/deploy/.ssh/authorized_keys")
LINE = re.compile(r'^restrict,command="sudo -n \S+ (SHA256:\S+) ([^"]+)" ', re.MULTILINE)


def apps(key: str) -> list[str]:
    """Return the apps that the key of this fingerprint is for; none where there is no such key."""
    text = FILE.read_text() if FILE.exists() else ""
    return next((found[2].split() for found in LINE.finditer(text) if found[1] == key), [])


def check(key: str, app: str) -> None:
    """Raise RefusedError where the key is not for the app, LockedError while deploys are on hold:
    either may have changed since this was asked for."""
    if app not in apps(key):
        raise RefusedError(f"This key is not for {app} any more.")
    if reason := lock.held(named=False):
        raise LockedError(reason)
