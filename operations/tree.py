"""A folder of configuration files that is checked as a whole and switched to by one rename."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Mapping
from hashlib import sha256

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

# Unpacks {path: content} from standard input below a new folder and flushes it to the disk.
UNPACK = """
import json, os, pathlib, sys
for name, text in json.load(sys.stdin).items():
    path = pathlib.Path(sys.argv[1], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(text); file.flush(); os.fsync(file.fileno())
"""


class Live(FactBase[str]):
    """The folder that is live, if every file in it is as it was placed and none was added."""

    def command(self, path: str) -> str:
        """Return one command that reads the link and compares all that is behind it."""
        return (
            f"cd {path}/ 2>/dev/null && find . -type f ! -name .sums -print0 | sort -z"
            f" | xargs -0 sha256sum | cmp -s - .sums && readlink {path} || true"
        )

    @staticmethod
    def default() -> str:
        """Return the state of a host without the tree."""
        return ""


@operation()
def place(path: str, files: Mapping[str, str], check: str) -> Generator[StringCommand, None, None]:
    """Make the symlink `path` lead to a folder with exactly these files.

    `check` must accept the new folder, whose path replaces {}, before the link is renamed to it:
    a bad tree is never where a reboot would find it.
    """
    digest = sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]
    new = f"{path}.{digest}"
    if host.get_fact(Live, path=path) == new:
        return
    steps = [
        f"rm -rf {new}",
        f"python3 -c {shlex.quote(UNPACK)} {new}",
        f"(cd {new} && find . -type f -print0 | sort -z | xargs -0 sha256sum > ../.sums.{digest})",
        f"mv {path.rsplit('/', 1)[0]}/.sums.{digest} {new}/.sums",
        check.replace("{}", new),
        f"ln -sfn {new} {path}.link",
        f"mv -T {path}.link {path}",
        f"sync {path.rsplit('/', 1)[0]}",
        f"find {path}.* -maxdepth 0 -type d ! -path {new} -exec rm -rf {{}} +",
    ]
    yield StringCommand(" && ".join(steps), _stdin=json.dumps(files))
