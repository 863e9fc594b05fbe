"""A folder of configuration files that is checked as a whole and switched to by one rename."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.files import File, differs

# Unpacks {path: content} from standard input into a folder and flushes it to the disk.
UNPACK = """
import json, os, pathlib, sys
os.umask(0o022)
for name, text in json.load(sys.stdin).items():
    path = pathlib.Path(sys.argv[1], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(text); file.flush(); os.fsync(file.fileno())
"""


class Live(FactBase[dict[str, str]]):
    """Mode, owner and SHA-256 of each file of the live folder, by its path below. Python's own
    bytecode is left out: it differs from one version of Python to the next."""

    def command(self, path: str) -> str:
        """Return one command that follows the link and looks at all that is behind it."""
        return (
            f"[ -L {path} ] && cd {path}/ 2>/dev/null"
            " && find . -name __pycache__ -prune -o ! -type d -exec sh -c"
            """ 'for path; do sum=$(sha256sum < "$path");"""
            """ echo "$(stat -c "%a %U:%G" "$path") ${sum%% *} ${path#./}"; done' - {} + || true"""
        )

    @staticmethod
    def default() -> dict[str, str]:
        """Return the state of a host without the tree."""
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        """Return the state by path."""
        lines = (line.split(" ", 3) for line in output)
        return {path: f"{mode} {owner} {digest}" for mode, owner, digest, path in lines}


@operation()
def place(path: str, files: Mapping[str, str], check: str) -> Generator[StringCommand, None, None]:
    """Make the symlink `path` lead to a folder with exactly these files.

    `check` must accept the new folder, whose path replaces {}, before the link is renamed to it:
    a bad tree is never where a reboot would find it.
    """
    wanted = {name: File(name, text).state for name, text in files.items()}
    there = host.get_fact(Live, path=path)
    if there == wanted:
        return
    checked = check.replace("{}", '"$new"')
    steps = [
        f"new=$(mktemp -d {path}.XXXXXX)",
        'chmod 755 "$new"',
        f'python3 -c {shlex.quote(UNPACK)} "$new"',
        f'({checked} || {{ rm -rf "$new"; false; }})',
        f'ln -sfn "$new" {path}.link',
        f"mv -T {path}.link {path}",
        f"sync {path.rsplit('/', 1)[0]}",
        f'find {path}.* -maxdepth 0 -type d ! -path "$new" -exec rm -rf {{}} +',
    ]
    names = sorted(there.keys() | wanted.keys())
    yield mends(
        StringCommand(" && ".join(steps), _stdin=json.dumps(files)),
        *(
            Difference(f"{path}/{name}", how)
            for name in names
            if (how := _how(there.get(name), wanted.get(name)))
        ),
    )


def _how(there: str | None, wanted: str | None) -> str:
    return differs(there, wanted) if wanted else "is extra"
