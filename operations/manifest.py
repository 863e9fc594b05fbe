"""What a whole deploy left on the server, for the server to notice what was changed since."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.facts import YesOrNo

PATH = "/etc/onebox/watch/manifest"
# Our folders whole, but for what a person may write; and elsewhere whatever says that we made it;
# releases come and go, with their own units.
OF_RELEASES = " ".join(f"--exclude='*@?*.{kind}'" for kind in ("service", "socket", "target"))
SUMS = (
    f"{{ find /etc/onebox -type f ! -path '{PATH}*' ! -name revision.key"
    " ! -path /etc/onebox/environment -print0;"
    f" grep -rlsIZ {OF_RELEASES} --exclude-dir=onebox --exclude-dir=releases 'Made by onebox' /etc;"
    " find /usr/local/lib/onebox/programs/ /usr/local/bin/onebox-* -type f -print0; }"
    " | sort -z | xargs -0 sha256sum"
)


class Same(YesOrNo):
    """Whether the sums of our files are those that are written down."""

    def command(self, path: str) -> str:
        """Return the command."""
        return f"{SUMS} | cmp -s - {path} && echo yes || true"


class Unedited(FactBase[list[str]]):
    """Which files are still as the last deploy left them."""

    def command(self, paths: Sequence[str]) -> str:
        """Return one command for all paths; a folder on the way may be a link."""
        return (
            f"same=$(sha256sum --check {PATH} 2>/dev/null | sed -n 's/: OK$//p');"
            f" for path in {shlex.join(paths)}; do"
            ' for name in "$path" "$(readlink -f "$path")"; do'
            ' printf "%s\\n" "$same" | grep -qxF -e "$name" && echo "$path" && break;'
            " done; done; true"
        )

    @staticmethod
    def default() -> list[str]:
        """Return what a host has that was never deployed to."""
        return []

    def process(self, output: list[str]) -> list[str]:
        """Return the paths."""
        return output


@operation()
def written(path: str) -> Generator[StringCommand, None, None]:
    """Write the sums of our files down."""
    if not host.get_fact(Same, path=path):
        write = f"umask 077; {SUMS} > {path}.new && sync {path}.new && mv -T {path}.new {path}"
        write += f" && sync {path.rpartition('/')[0]}"
        yield mends(StringCommand(write), Difference(path, "is of another deploy"))
