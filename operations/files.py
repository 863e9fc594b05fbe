"""Files and folders, installed atomically; one command reads the state of all of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import EDITED, Difference, fixes

NOTHING: Mapping[str, str] = {}
ATTRIBUTES = ("mode", "owner", "content")  # in the order of `FileStates`


@dataclass(frozen=True)
class File:
    """A file to install. `content` is never printed: it may hold secrets."""

    path: str
    content: str
    mode: str = "644"
    owner: str = "root:root"
    check: str | None = None
    """Command that must accept the new file, whose path replaces {}, before it is renamed."""

    def __repr__(self) -> str:
        return f"File({self.path})"

    @property
    def state(self) -> str:
        """Return what `FileStates` reports once the file is installed."""
        return f"{self.mode} {self.owner} {sha256(self.content.encode()).hexdigest()}"


@dataclass(frozen=True)
class Folder:
    """A folder to create."""

    path: str
    mode: str = "755"
    owner: str = "root:root"
    allowed: tuple[str, ...] | None = None
    """Names (as patterns with *) that may be in it beside what is installed with it; all else is
    removed. None: the folder is shared, and nothing is removed."""

    @property
    def state(self) -> str:
        """Return what `FileStates` reports once the folder is created."""
        return f"{self.mode} {self.owner} -"


class FileStates(FactBase[dict[str, str]]):
    """Mode, owner and SHA-256 of files and folders, by path, without those that don't exist."""

    def command(self, paths: Sequence[str], folders: Sequence[str] = ()) -> str:
        """Return one command for all paths, and for everything in the folders."""
        within = (f"{shlex.quote(folder)}/{all_}" for folder in folders for all_ in ("*", ".[!.]*"))
        return (
            f"for path in {' '.join([*map(shlex.quote, paths), *within])}; do"
            ' if [ -L "$path" ]; then sum=link;'
            ' elif [ -f "$path" ]; then sum=$(sha256sum < "$path");'
            ' elif [ -d "$path" ]; then sum=-; else continue; fi;'
            ' echo "$(stat -c "%a %U:%G" "$path") ${sum%% *} $path"; done'
        )

    @staticmethod
    def default() -> dict[str, str]:
        """Return no states: none of the paths exists."""
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        """Return the states by path."""
        lines = (line.split(" ", 3) for line in output)
        return {path: f"{mode} {owner} {digest}" for mode, owner, digest, path in lines}


@operation()
def install(
    entries: Sequence[File | Folder],
    absent: Sequence[str] = (),
    converted: Mapping[str, str] = NOTHING,
) -> Generator[StringCommand, None, None]:
    """Install files and folders in the given order; remove `absent` ones, and what a folder of ours
    does not allow. `converted` has paths of an older onebox, each with the command to run if it
    exists."""
    paths = [*(entry.path for entry in entries), *absent, *converted]
    owned = [e for e in entries if isinstance(e, Folder) and e.allowed is not None]
    states = host.get_fact(FileStates, paths=paths, folders=[folder.path for folder in owned])
    for entry in entries:
        current = states.get(entry.path)
        if current != entry.state:
            how = describe_difference(current, entry.state)
            yield fixes(repair(entry, current), Difference(entry.path, how))
    installed = {*(entry.path for entry in entries), *converted}
    for path, command in converted.items():
        if path in states:
            yield fixes(StringCommand(command), Difference(path, "is of an older onebox"))
    for path in states:
        if path in absent or (path not in installed and any(_is_extra(path, f) for f in owned)):
            remove = StringCommand("rm", "-rf", shlex.quote(path))
            yield fixes(remove, Difference(path, "is extra"))


@operation()
def create_once(path: str, content: Callable[[], str]) -> Generator[StringCommand, None, None]:
    """Write a file that only root can read, unless it exists; its content is never changed."""
    current = host.get_fact(FileStates, paths=[path]).get(path)
    expected = File(path, "", mode="600")
    if current is None:
        file = File(path, content(), mode="600")
        yield fixes(write(file), Difference(path, "is missing"))
    elif current.rsplit(" ", 1)[0] != expected.state.rsplit(" ", 1)[0]:
        how = describe_difference(current, expected.state, ATTRIBUTES[:2])
        yield fixes(_set_attributes(expected), Difference(path, how))


def describe_difference(
    current: str | None, expected: str, attributes: Sequence[str] = ATTRIBUTES
) -> str:
    """Return in words how the state of a path differs from the expected one."""
    if current is None:
        return "is missing"
    values = zip(attributes, current.split(" "), expected.split(" "), strict=False)
    differences = [
        EDITED if name == "content" else f"has {name} {is_}, not {should}"
        for name, is_, should in values
        if is_ != should
    ]
    return ", ".join(differences)


def repair(entry: File | Folder, current: str | None) -> StringCommand:
    """Return the command that brings a path to its expected state.

    A file with the right content is not rewritten: a newer time would restart what reads it.
    """
    if isinstance(entry, Folder):
        return make(entry)
    is_right = current and current.split(" ")[2] == entry.state.split(" ")[2]
    return _set_attributes(entry) if is_right else write(entry)


def _set_attributes(file: File) -> StringCommand:
    path = shlex.quote(file.path)
    return StringCommand(f"chown {file.owner} {path} && chmod {file.mode} {path}")


def _is_extra(path: str, folder: Folder) -> bool:
    parent, _, name = path.rpartition("/")
    return parent == folder.path and not any(fnmatch(name, kept) for kept in folder.allowed or ())


def write(file: File) -> StringCommand:
    """Return the command that replaces a file.

    The content is sent on standard input, so that no argument list, log or other file has it. Only
    root can read the temporary file beside the target until it has its owner and mode.
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
    """Return the command that creates a folder, or sets its mode and owner."""
    user, group = folder.owner.split(":")
    path = shlex.quote(folder.path)
    return StringCommand(f"install -d -m {folder.mode} -o {user} -g {group} {path}")
