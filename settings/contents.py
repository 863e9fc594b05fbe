"""Which files of an app's folder are packed, and which may not be: they are refused by name."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

# Left out where git doesn't say what belongs to the app.
IGNORED = {".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
# By name, in any folder: what holds secrets, and the templates of such files, which don't.
ENVIRONMENTS = (".env", ".env.*", "secrets.env", "secrets.*.env")
TEMPLATES = ("*.example", "*.sample", "*.template", "*.dist")
CREDENTIALS = (
    "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "*.p12", "*.pfx",
    "*.ppk", "*.jks", "*.keystore", ".netrc", ".pgpass", ".pypirc", ".git-credentials",
)  # fmt: skip
# PEM and PGP. At the start of a line: code that only speaks of keys has a quote before it.
KEY = re.compile(rb"^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----\s*$", re.MULTILINE)
KEY_SIZE = 1 << 20  # bytes: larger files are not searched for a key
EMACS_LOCK = ".#*"  # a link to nowhere beside a file that is being edited

OUTSIDE = "put a copy of the file in the link's place"
NOWHERE = "correct the link's target, or delete the link"
FOLDER = "put the folder itself in the link's place"
PRIVATE = (
    "name its variables in `secrets`, and keep the file out: add it to .gitignore, and"
    " `git rm --cached` it if git tracks it; where git must keep it, write `PATH export-ignore` in"
    " .gitattributes"
)
SPECIAL = "move it out of the folder"
UNREADABLE = "make it readable, or add it to .gitignore"


class ListingError(Exception):
    """git can't list a folder's files; the message says why."""


@dataclass(frozen=True)
class Refused:
    """A file that may not be packed, why, and the fix."""

    path: Path
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


@dataclass(frozen=True)
class Entry:
    """A file as it is packed: its path in the archive, its bytes, and whether it is executable."""

    path: Path
    content: bytes
    executable: bool


def refused(folder: Path) -> list[Refused]:
    """Return every file of a folder that may not be packed. Raises ListingError."""
    return [found for found in read(folder, whole=False) if isinstance(found, Refused)]


def read(folder: Path, *, whole: bool = True) -> Iterator[Entry | Refused]:
    """Yield each file that belongs to an app, in order: what git would commit, or all but caches.

    Not `whole` leaves out the bytes of files that are too large to be searched for a key. Raises
    ListingError.
    """
    root = folder.resolve()
    for path in sorted(_listed(folder)):
        target = _target(folder, root, path)
        if isinstance(target, Path):
            yield _read(path, target, None if whole else KEY_SIZE)
        elif target:
            yield target


def explained(found: list[Refused]) -> tuple[str, str]:
    """Return what is wrong with some files, and the fixes, each once."""
    shown = [str(each) for each in found[:10]]
    more = [f"and {len(found) - len(shown)} more"] if found[10:] else []
    return "; ".join(shown + more), "; ".join(dict.fromkeys(each.fix for each in found))


def _target(folder: Path, root: Path, path: Path) -> Path | Refused | None:
    """Return the regular file behind a path of the folder, without any link in its own path."""
    whole = folder / path
    try:
        status = whole.lstat()
    except (FileNotFoundError, NotADirectoryError):  # git lists it, and it was deleted
        return None
    if stat.S_ISDIR(status.st_mode):  # a repository in the repository
        return None
    if _is_secret(path.name):
        return Refused(path, "holds secrets by its name", PRIVATE)
    try:
        target = Path(os.path.realpath(whole, strict=True))
    except OSError as error:
        if fnmatch(path.name, EMACS_LOCK):
            return None
        why = "leads nowhere" if isinstance(error, FileNotFoundError) else "leads in a circle"
        if isinstance(error, PermissionError):
            why = "can't be followed (permission denied)"
        return Refused(path, f"is a link that {why}: {_link(whole)}", NOWHERE)
    if not target.is_relative_to(root):
        return Refused(path, f"is a link out of the folder: {_link(whole)}", OUTSIDE)
    inside = target.relative_to(root)
    if target.is_dir():
        return Refused(path, f"is a link to a folder: {_link(whole)}", FOLDER)
    if ".git" in inside.parts or any(map(_is_secret, inside.parts)):
        return Refused(path, f"is a link to secrets: {_link(whole)}", PRIVATE)
    return target


def _link(path: Path) -> str:
    """Return where a link leads, or the nearest link above a path."""
    for each in (path, *path.parents):
        if each.is_symlink():
            return str(each.readlink())
    return str(path)


def _is_secret(name: str) -> bool:
    lower = name.lower()
    if any(fnmatch(lower, pattern) for pattern in CREDENTIALS):
        return True
    named = any(fnmatch(lower, pattern) for pattern in ENVIRONMENTS)
    return named and not any(fnmatch(lower, pattern) for pattern in TEMPLATES)


def _read(path: Path, target: Path, limit: int | None) -> Entry | Refused:
    """Read a file that was seen to be a regular one. What took its place since is not followed,
    and a pipe is not waited for."""
    if not stat.S_ISREG(target.lstat().st_mode):
        return Refused(path, "is no regular file (a pipe, a socket or a device)", SPECIAL)
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Refused(path, f"can't be read ({error.strerror})", UNREADABLE)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Refused(path, "is no regular file (a pipe, a socket or a device)", SPECIAL)
        searched = status.st_size <= KEY_SIZE
        content = file.read() if searched or limit is None else b""
    if searched and KEY.search(content):
        return Refused(path, "contains a private key", PRIVATE)
    return Entry(path, content, bool(status.st_mode & 0o100))


def _listed(folder: Path) -> list[Path]:
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return _listed_by_git(folder)
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if name not in {*IGNORED, *links}]
        # Nobody said that .env belongs to the app: it stays behind, as a cache does.
        kept = [n for n in [*files, *links] if n not in IGNORED and not _is_environment(n)]
        found += [Path(place, name).relative_to(folder) for name in kept]
    return found


def _is_environment(name: str) -> bool:
    return _is_secret(name) and any(fnmatch(name.lower(), pattern) for pattern in ENVIRONMENTS)


def _listed_by_git(folder: Path) -> list[Path]:
    """Return what git would commit, without what .gitattributes keeps out of archives.

    Without git's word, ignored secrets could be shipped.
    """
    listed = _git(folder, "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    paths = [Path(name) for name in listed if name]
    if not any((parent / ".gitattributes").exists() for parent in _with_parents(folder, paths)):
        return paths
    asked = {place for path in paths for place in (path, *path.parents) if place.name}
    answer = _git(
        folder, "check-attr", "-z", "--stdin", "export-ignore",
        given="".join(f"{place}\0" for place in sorted(asked)),
    ).split("\0")  # fmt: skip
    left_out = {
        Path(place)
        for place, value in zip(answer[::3], answer[2::3], strict=False)
        if value not in {"unspecified", "unset"}
    }
    return [path for path in paths if not left_out & {path, *path.parents}]


def _with_parents(folder: Path, paths: list[Path]) -> set[Path]:
    """Return the folders that may have a .gitattributes which counts."""
    return {*(folder / path.parent for path in paths), folder, *folder.parents}


def _git(folder: Path, *arguments: str, given: str = "") -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, check=True, capture_output=True, text=True, input=given)
    except FileNotFoundError:
        raise ListingError(f"{folder} is a git checkout, and git is not installed.") from None
    except subprocess.CalledProcessError as error:
        told = error.stderr.strip()
        raise ListingError(f"git can't list the files of {folder}: {told}") from None
    return result.stdout
