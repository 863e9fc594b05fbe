"""Python programs, each in its own virtual environment."""

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

from operations.difference import Difference, fixes

PROJECT = Path(__file__).resolve().parent.parent
BASE = "/usr/local/lib/onebox"
PYTHON = "/usr/bin/python3"
PIP_OPTIONS = "--quiet --disable-pip-version-check --require-hashes --only-binary :all:"


class Link(FactBase[str]):
    """Where an environment's symlink points, if its program runs on the server's Python."""

    def command(self, path: str) -> str:
        """Return the command; an upgrade of Debian leaves the old Python, and what runs on it,
        until somebody removes it."""
        package = path.rpartition("/")[2]
        return (
            f"[ $(readlink -f {path}/bin/python) = $(readlink -f {PYTHON}) ]"
            f" && {path}/bin/python -c 'import {package}' 2>/dev/null && readlink {path} || true"
        )


@operation()
def install(group: str) -> Generator[StringCommand, None, None]:
    """Install the packages of the dependency group `group` as uv.lock pins them.

    The new environment is built beside the old one and switched to by a rename, so that a timer
    never finds half of one.
    """
    requirements = _requirements(group)
    link, folder = f"{BASE}/{group}", f"{group}-{sha256(requirements.encode()).hexdigest()[:12]}"
    if host.get_fact(Link, path=link) == folder:
        return
    new = f"{BASE}/{folder}"
    steps = [
        f"rm -rf {new}",
        f"$(readlink -f {PYTHON}) -m venv {new}",  # the versioned path, which the fact compares
        f"{new}/bin/python -m pip install {PIP_OPTIONS} -r /dev/stdin",
        "sync",
        f"ln -sfn {folder} {link}.new",
        f"mv -T {link}.new {link}",
        f"find {BASE} -maxdepth 1 -type d -name '{group}-*' ! -name {folder} -exec rm -rf {{}} +",
    ]
    command = StringCommand(" && ".join(steps), _stdin=requirements)
    yield fixes(command, Difference(link, "is not what uv.lock pins"))


@cache
def _requirements(group: str) -> str:
    """Return the group's packages with their hashes, in pip's format."""
    command = [find_uv_bin(), "export", "--quiet", "--frozen", "--no-header", "--only-group", group]
    result = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return result.stdout
