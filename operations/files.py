"""Files and folders placed whole: private from birth, atomic, and one command to see them all."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation


@dataclass(frozen=True)
class File:
    """A file as it should stand. `content` is never printed: it may hold secrets."""

    path: str
    content: str
    mode: str = "644"
    owner: str = "root:root"
    check: str | None = None
    """Command that must accept the staged file, whose path replaces {}, before it is renamed in."""

    def __repr__(self) -> str:
        return f"File({self.path})"

    @property
    def state(self) -> str:
        """Return what `Standing` reports when the file is as it should be."""
        return f"{self.mode} {self.owner} {sha256(self.content.encode()).hexdigest()}"


@dataclass(frozen=True)
class Folder:
    """A folder as it should stand."""

    path: str
    mode: str = "755"
    owner: str = "root:root"

    @property
    def state(self) -> str:
        """Return what `Standing` reports when the folder is as it should be."""
        return f"{self.mode} {self.owner} -"


class Standing(FactBase[dict[str, str]]):
    """Mode, owner and SHA-256 of files and folders, by path; absent ones are left out."""

    def command(self, paths: Sequence[str]) -> str:
        """Return one command that looks at all paths."""
        return (
            f"for path in {shlex.join(paths)}; do"
            ' if [ -f "$path" ] && [ ! -L "$path" ]; then sum=$(sha256sum < "$path");'
            ' elif [ -d "$path" ]; then sum=-; else continue; fi;'
            ' echo "$(stat -c "%a %U:%G" "$path") ${sum%% *} $path"; done'
        )

    @staticmethod
    def default() -> dict[str, str]:
        """Return the state of a host that has none of the paths."""
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        """Return the state by path."""
        lines = (line.split(" ", 3) for line in output)
        return {path: f"{mode} {owner} {digest}" for mode, owner, digest, path in lines}


@operation()
def place(
    things: Sequence[File | Folder], absent: Sequence[str] = ()
) -> Generator[StringCommand, None, None]:
    """Bring files and folders to the given state, in the given order, and remove `absent` ones."""
    standing = host.get_fact(Standing, paths=[*(thing.path for thing in things), *absent])
    for thing in things:
        if standing.get(thing.path) != thing.state:
            yield write(thing) if isinstance(thing, File) else make(thing)
    for path in absent:
        if path in standing:
            yield StringCommand("rm", "-rf", shlex.quote(path))


@operation()
def place_once(path: str, content: Callable[[], str]) -> Generator[StringCommand, None, None]:
    """Write a file for root alone if there is none; one that is there is never changed."""
    if path not in host.get_fact(Standing, paths=[path]):
        yield write(File(path, content(), mode="600"))


def write(file: File) -> StringCommand:
    """Return the command that replaces a file.

    The content travels on standard input, so it is in no argument list, log or other file; the
    temporary file beside the target is readable by root alone until it has its owner and mode.
    """
    path = shlex.quote(file.path)
    steps = [
        f"new=$(mktemp {path}.XXXXXX)",
        "trap 'rm -f \"$new\"' EXIT",
        'cat > "$new"',
        f'chown {file.owner} "$new"',
        f'chmod {file.mode} "$new"',
        *([file.check.replace("{}", '"$new"')] if file.check else []),
        'sync "$new"',
        f'mv -T "$new" {path}',
    ]
    return StringCommand(" && ".join(steps), _stdin=file.content)


def make(folder: Folder) -> StringCommand:
    """Return the command that makes a folder, or mends its mode and owner."""
    user, group = folder.owner.split(":")
    path = shlex.quote(folder.path)
    return StringCommand(f"install -d -m {folder.mode} -o {user} -g {group} {path}")
