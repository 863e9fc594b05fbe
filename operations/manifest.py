"""The checksums of all files of a deploy, by which monitoring notices later edits."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.facts import Names, YesOrNo

PATH = "/etc/onebox/checks/manifest"
# All files in our folders, except those that a person may write, and elsewhere each file marked as
# ours. Not release units: they come and go with their releases.
OF_RELEASES = " ".join(f"--exclude='*@?*.{kind}'" for kind in ("service", "socket", "target"))
SUMS = (
    f"{{ find /etc/onebox -type f ! -path '{PATH}*' ! -name revision.key"
    " ! -path /etc/onebox/environment -print0;"
    f" grep -rlsIZ {OF_RELEASES} --exclude-dir=onebox --exclude-dir=releases 'Made by onebox' /etc;"
    " find /usr/local/lib/onebox/programs/ /usr/local/bin/onebox-* -type f -print0; }"
    " | sort -z | xargs -0 sha256sum"
)


class IsCurrent(YesOrNo):
    """Whether our files have the checksums of the manifest."""

    def command(self, path: str) -> str:
        """Return the command."""
        return f"{SUMS} | cmp -s - {path} && echo yes || true"


class Unedited(Names):
    """Which files are as the last deploy left them."""

    def command(self, paths: Sequence[str]) -> str:
        """Return one command for all paths; it follows links."""
        return (
            f"same=$(sha256sum --check {PATH} 2>/dev/null | sed -n 's/: OK$//p');"
            f" for path in {shlex.join(paths)}; do"
            ' for name in "$path" "$(readlink -f "$path")"; do'
            ' printf "%s\\n" "$same" | grep -qxF -e "$name" && echo "$path" && break;'
            " done; done; true"
        )


@operation()
def write(path: str) -> Generator[StringCommand, None, None]:
    """Write the checksums of our files."""
    if not host.get_fact(IsCurrent, path=path):
        command = f"umask 077; {SUMS} > {path}.new && sync {path}.new && mv -T {path}.new {path}"
        command += f" && sync {path.rpartition('/')[0]}"
        yield fixes(StringCommand(command), Difference(path, "is from an earlier deploy"))
