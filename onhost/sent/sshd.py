"""Print sshd's effective options, with and without onebox's drop-in.

The deployer pipes this program over its SSH connection.
"""

from __future__ import annotations

import json
import pwd
import re
import shlex
import sys
from pathlib import Path

from sent import access

CONFIGURATION = Path("/etc/ssh/sshd_config")
DROP_IN = CONFIGURATION.parent / "sshd_config.d/00-onebox.conf"
NO_SHELL = ("/nologin", "/false")
INCLUDE = re.compile(r"\s*include[\s=]+(.+)", re.IGNORECASE)


def main() -> None:
    """Print both, and the users with keys in authorized_keys2, as JSON."""
    text = without(CONFIGURATION.read_text(), DROP_IN)
    theirs = access.effective("-f", "/dev/stdin", config=text)
    if not theirs:  # onebox's options could be laxer than the existing ones
        sys.exit(f"sshd -T fails on {CONFIGURATION} without {DROP_IN}. Fix what `sshd -t` reports.")
    found = {
        "effective": access.effective(),
        "theirs": theirs,
        "second": [user.pw_name for user in pwd.getpwall() if _has_second(user)],
    }
    print(json.dumps(found))


def without(text: str, drop_in: Path) -> str:
    """Return sshd's configuration without one of the files that it includes."""
    lines = []
    for line in text.splitlines():
        if (found := INCLUDE.fullmatch(line)) is None:
            lines.append(line)
            continue
        for pattern in shlex.split(found[1], comments=True):
            whole = drop_in.parent.parent / pattern  # an absolute pattern stays as it is
            paths = sorted(Path("/").glob(str(whole).lstrip("/")))
            lines += [f'Include "{path}"' for path in paths if path != drop_in]
    return "".join(f"{line}\n" for line in lines)


def _has_second(user: pwd.struct_passwd) -> bool:
    if user.pw_shell.endswith(NO_SHELL):  # an app's user must not influence this
        return False
    try:
        return bool(access.keys_in(access.path_of(access.SECOND, user)))
    except OSError:
        return False
