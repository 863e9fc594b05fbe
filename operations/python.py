"""Python programs that the server needs, each in a virtual environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from functools import cache
from hashlib import sha256
from pathlib import Path

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from uv import find_uv_bin

from operations.difference import Difference, mends

PROJECT = Path(__file__).resolve().parent.parent
BASE = "/usr/local/lib/onebox"
PYTHON = "/usr/bin/python3"
PIP_OPTIONS = "--quiet --disable-pip-version-check --require-hashes --only-binary :all:"


class Link(FactBase[str]):
    """Where an environment's symlink points to, if what is there runs on today's Python."""

    def command(self, path: str) -> str:
        """Return the command. An upgrade of the distribution leaves the old Python until
        somebody removes it, and with it all that runs on it."""
        package = path.rpartition("/")[2]
        return (
            f"[ $(readlink -f {path}/bin/python) = $(readlink -f {PYTHON}) ]"
            f" && {path}/bin/python -c 'import {package}' 2>/dev/null && readlink {path} || true"
        )


@operation()
def environment(group: str) -> Generator[StringCommand, None, None]:
    """Install the packages of the dependency group `group` exactly as uv.lock pins them.

    The new environment is built beside the old one and switched to by a rename, so that a timer
    that uses it never finds half of one.
    """
    requirements = _requirements(group)
    link, folder = f"{BASE}/{group}", f"{group}-{sha256(requirements.encode()).hexdigest()[:12]}"
    if host.get_fact(Link, path=link) == folder:
        return
    new = f"{BASE}/{folder}"
    steps = [
        f"rm -rf {new}",
        f"$(readlink -f {PYTHON}) -m venv {new}",  # by its version: see the fact
        f"{new}/bin/python -m pip install {PIP_OPTIONS} -r /dev/stdin",
        "sync",
        f"ln -sfn {folder} {link}.new",
        f"mv -T {link}.new {link}",
        f"find {BASE} -maxdepth 1 -type d -name '{group}-*' ! -name {folder} -exec rm -rf {{}} +",
    ]
    install = StringCommand(" && ".join(steps), _stdin=requirements)
    yield mends(install, Difference(link, "is not what uv.lock pins"))


@cache
def _requirements(group: str) -> str:
    """Return the group's packages with their hashes, in pip's format."""
    command = [find_uv_bin(), "export", "--quiet", "--frozen", "--no-header", "--only-group", group]
    result = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return result.stdout
