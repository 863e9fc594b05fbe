"""What a deploy key may do now, according to root's authorized_keys.

sshd reads that file once per connection. A connection may stay open for days, and a submission may
wait for hours: so the file is read again for each request, and when a deploy starts.
"""

from __future__ import annotations

import re
from pathlib import Path

from onebox_release.errors import LockedError, RefusedError
from onebox_release.host import lock

FILE = Path("/etc/onebox/deploy/.ssh/authorized_keys")
LINE = re.compile(r'^restrict,command="sudo -n \S+ (SHA256:\S+) ([^"]+)" ', re.MULTILINE)


def apps(key: str) -> list[str]:
    """Return the apps of the key with this fingerprint; none for an unknown key."""
    text = FILE.read_text() if FILE.exists() else ""
    return next((found[2].split() for found in LINE.finditer(text) if found[1] == key), [])


def check(key: str, app: str) -> None:
    """Raise RefusedError if the key is not for the app, LockedError if deploys are on hold: both
    may have changed since the request."""
    if app not in apps(key):
        raise RefusedError(f"This key is no longer for {app}.")
    if reason := lock.hold_reason(named=False):
        raise LockedError(reason)
