"""A folder of files, checked as a whole and switched to by one rename."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.files import File, describe_difference

# Writes {path: content} from standard input into a folder, and syncs it.
UNPACK = """
import json, os, pathlib, sys
os.umask(0o022)
for name, text in json.load(sys.stdin).items():
    path = pathlib.Path(sys.argv[1], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(text); file.flush(); os.fsync(file.fileno())
"""


class TreeStates(FactBase[dict[str, str]]):
    """Mode, owner and SHA-256 of each file in the folder, by path, without Python's bytecode, which
    differs between versions of Python."""

    def command(self, path: str) -> str:
        """Return one command, which follows the link."""
        return (
            f"[ -L {path} ] && cd {path}/ 2>/dev/null"
            " && find . -name __pycache__ -prune -o ! -type d -exec sh -c"
            """ 'for path; do sum=$(sha256sum < "$path");"""
            """ echo "$(stat -c "%a %U:%G" "$path") ${sum%% *} ${path#./}"; done' - {} + || true"""
        )

    @staticmethod
    def default() -> dict[str, str]:
        """Return no files."""
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        """Return the states by path."""
        lines = (line.split(" ", 3) for line in output)
        return {path: f"{mode} {owner} {digest}" for mode, owner, digest, path in lines}


@operation()
def install(
    path: str, files: Mapping[str, str], check: str
) -> Generator[StringCommand, None, None]:
    """Point the symlink `path` at a folder with exactly these files.

    The command `check` must accept the new folder, whose path replaces {}, before the link is
    renamed, so that a reboot never finds a bad one.
    """
    expected = {name: File(name, text).state for name, text in files.items()}
    current = host.get_fact(TreeStates, path=path)
    if current == expected:
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
    names = sorted(current.keys() | expected.keys())
    yield fixes(
        StringCommand(" && ".join(steps), _stdin=json.dumps(files)),
        *(
            Difference(f"{path}/{name}", how)
            for name in names
            if (how := _how(current.get(name), expected.get(name)))
        ),
    )


def _how(current: str | None, expected: str | None) -> str:
    return describe_difference(current, expected) if expected else "is extra"
