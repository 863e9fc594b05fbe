"""Files and folders placed whole: private from birth, atomic, and one command to see them all."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import EDITED, Difference, mends

ATTRIBUTES = ("mode", "owner", "content")  # as `Standing` reports them


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
    holds: tuple[str, ...] | None = None
    """Names (* stands for any text) of what may be in it beside what is placed with it; what
    else is found there is removed. None: it is not ours alone, and nothing is removed."""

    @property
    def state(self) -> str:
        """Return what `Standing` reports when the folder is as it should be."""
        return f"{self.mode} {self.owner} -"


class Standing(FactBase[dict[str, str]]):
    """Mode, owner and SHA-256 of files and folders, by path; absent ones are left out."""

    def command(self, paths: Sequence[str], folders: Sequence[str] = ()) -> str:
        """Return one command that looks at all paths, and at all that is in the folders."""
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
    """Bring files and folders to the given state, in the given order, and remove `absent` ones,
    and whatever is in a folder that `holds` it not."""
    paths = [*(thing.path for thing in things), *absent]
    owned = [t for t in things if isinstance(t, Folder) and t.holds is not None]
    standing = host.get_fact(Standing, paths=paths, folders=[folder.path for folder in owned])
    for thing in things:
        there = standing.get(thing.path)
        if there != thing.state:
            yield mends(mend(thing, there), Difference(thing.path, differs(there, thing.state)))
    wanted = {thing.path for thing in things}
    for path in standing:
        if path in absent or (path not in wanted and any(_is_extra(path, f) for f in owned)):
            remove = StringCommand("rm", "-rf", shlex.quote(path))
            yield mends(remove, Difference(path, "is extra"))


@operation()
def place_once(path: str, content: Callable[[], str]) -> Generator[StringCommand, None, None]:
    """Write a file for root alone if there is none; one that is there is never changed."""
    standing = host.get_fact(Standing, paths=[path]).get(path)
    wanted = File(path, "", mode="600")
    if standing is None:
        file = File(path, content(), mode="600")
        yield mends(write(file), Difference(path, "is missing"))
    elif standing.rsplit(" ", 1)[0] != wanted.state.rsplit(" ", 1)[0]:
        yield mends(_own(wanted), Difference(path, differs(standing, wanted.state, ATTRIBUTES[:2])))


def differs(there: str | None, wanted: str, attributes: Sequence[str] = ATTRIBUTES) -> str:
    """Return in words how the state of a path differs from the wanted one."""
    if there is None:
        return "is missing"
    values = zip(attributes, there.split(" "), wanted.split(" "), strict=False)
    found = [
        EDITED if name == "content" else f"has {name} {is_}, not {should}"
        for name, is_, should in values
        if is_ != should
    ]
    return ", ".join(found)


def mend(thing: File | Folder, there: str | None) -> StringCommand:
    """Return the command that brings a path from one state to the wanted one; a file whose
    content is right keeps its time, which tells what runs whether it was started before it."""
    if isinstance(thing, Folder):
        return make(thing)
    is_right = there and there.split(" ")[2] == thing.state.split(" ")[2]
    return _own(thing) if is_right else write(thing)


def _own(file: File) -> StringCommand:
    path = shlex.quote(file.path)
    return StringCommand(f"chown {file.owner} {path} && chmod {file.mode} {path}")


def _is_extra(path: str, folder: Folder) -> bool:
    parent, _, name = path.rpartition("/")
    return parent == folder.path and not any(fnmatch(name, kept) for kept in folder.holds or ())


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
