"""Which files of an app's folder are packed, and which are refused."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

# Left out of a folder that isn't in a git repository.
IGNORED = {".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
# Names of files with secrets, in any folder, and of their templates, which have none.
ENVIRONMENTS = (".env", ".env.*", "secrets.env", "secrets.*.env")
TEMPLATES = ("*.example", "*.sample", "*.template", "*.dist")
CREDENTIALS = (
    "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "*.p12", "*.pfx",
    "*.ppk", "*.jks", "*.keystore", ".netrc", ".pgpass", ".pypirc", ".git-credentials",
)  # fmt: skip
# PEM and PGP. At the start of a line: code that mentions keys has a quote before it.
KEY = re.compile(rb"^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----\s*$", re.MULTILINE)
KEY_SIZE = 1 << 20  # bytes: larger files are not searched for a key
EMACS_LOCK = ".#*"  # a broken link beside a file that is being edited

OUTSIDE = "replace the link by a copy of the file"
NOWHERE = "correct the link's target, or delete the link"
FOLDER = "replace the link by the folder itself"
PRIVATE = (
    "name its variables in `secrets`, and exclude the file: add it to .gitignore, and"
    " `git rm --cached` it if git tracks it; if git must keep it, write `PATH export-ignore` in"
    " .gitattributes"
)
SPECIAL = "move it out of the folder"
UNREADABLE = "make it readable, or add it to .gitignore"


class ListingError(Exception):
    """git can't list a folder's files; the message has the reason."""


@dataclass(frozen=True)
class Refused:
    """A file that may not be packed, the reason, and the fix."""

    path: Path
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


@dataclass(frozen=True)
class Entry:
    """A file to pack: its path in the archive, its content, and whether it is executable."""

    path: Path
    content: bytes
    executable: bool


def refused(folder: Path) -> list[Refused]:
    """Return every file of a folder that may not be packed. Raises ListingError."""
    return [found for found in read(folder, whole=False) if isinstance(found, Refused)]


def read(folder: Path, *, whole: bool = True) -> Iterator[Entry | Refused]:
    """Yield an app's files in order: those that git would commit, or all but caches.

    Without `whole`, files too large to be searched for a key have no content. Raises ListingError.
    """
    root = folder.resolve()
    for path in sorted(_listed(folder)):
        target = _target(folder, root, path)
        if isinstance(target, Path):
            yield _read(path, target, None if whole else KEY_SIZE)
        elif target:
            yield target


def summary(found: list[Refused]) -> tuple[str, str]:
    """Return why files are refused, and the fixes, each once."""
    shown = [str(each) for each in found[:10]]
    more = [f"and {len(found) - len(shown)} more"] if found[10:] else []
    return "; ".join(shown + more), "; ".join(dict.fromkeys(each.fix for each in found))


def _target(folder: Path, root: Path, path: Path) -> Path | Refused | None:
    """Return the file that a path of the folder resolves to; None for one to leave out."""
    whole = folder / path
    try:
        status = whole.lstat()
    except (FileNotFoundError, NotADirectoryError):  # deleted, but still in git's index
        return None
    if stat.S_ISDIR(status.st_mode):  # a nested repository
        return None
    if _is_secret(path.name):
        return Refused(path, "has the name of a file with secrets", PRIVATE)
    try:
        target = Path(os.path.realpath(whole, strict=True))
    except OSError as error:
        if fnmatch(path.name, EMACS_LOCK):
            return None
        is_broken = isinstance(error, FileNotFoundError)
        reason = "is a broken link" if is_broken else "is a circular link"
        if isinstance(error, PermissionError):
            reason = "is a link that can't be followed (permission denied)"
        return Refused(path, f"{reason}: {_link(whole)}", NOWHERE)
    if not target.is_relative_to(root):
        return Refused(path, f"is a link out of the folder: {_link(whole)}", OUTSIDE)
    inside = target.relative_to(root)
    if target.is_dir():
        return Refused(path, f"is a link to a folder: {_link(whole)}", FOLDER)
    if ".git" in inside.parts or any(map(_is_secret, inside.parts)):
        return Refused(path, f"is a link to secrets: {_link(whole)}", PRIVATE)
    return target


def _link(path: Path) -> str:
    """Return the target of a link, or of the nearest link above a path."""
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
    """Read a regular file. If a link or pipe has replaced it since, it is refused, not followed or
    waited for."""
    if not stat.S_ISREG(target.lstat().st_mode):
        return Refused(path, "is not a regular file (a pipe, a socket or a device)", SPECIAL)
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Refused(path, f"can't be read ({error.strerror})", UNREADABLE)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Refused(path, "is not a regular file (a pipe, a socket or a device)", SPECIAL)
        searched = status.st_size <= KEY_SIZE
        content = file.read() if searched or limit is None else b""
    if searched and KEY.search(content):
        return Refused(path, "contains a private key", PRIVATE)
    return Entry(path, content, bool(status.st_mode & 0o100))


def _listed(folder: Path) -> list[Path]:
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return _listed_by_git(folder)
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        folders[:] = [name for name in folders if name not in {*IGNORED, *links}]
        # Without git, .env is left out like a cache instead of refused.
        kept = [n for n in [*files, *links] if n not in IGNORED and not _is_environment(n)]
        found += [Path(parent, name).relative_to(folder) for name in kept]
    return found


def _is_environment(name: str) -> bool:
    return _is_secret(name) and any(fnmatch(name.lower(), pattern) for pattern in ENVIRONMENTS)


def _listed_by_git(folder: Path) -> list[Path]:
    """Return the files that git would commit, without those that .gitattributes keeps out of
    archives.

    A failure of git is an error, as ignored secrets could be packed otherwise.
    """
    listed = _git(folder, "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    paths = [Path(name) for name in listed if name]
    if not any((parent / ".gitattributes").exists() for parent in _with_parents(folder, paths)):
        return paths
    asked = {each for path in paths for each in (path, *path.parents) if each.name}
    answer = _git(
        folder, "check-attr", "-z", "--stdin", "export-ignore",
        stdin="".join(f"{each}\0" for each in sorted(asked)),
    ).split("\0")  # fmt: skip
    left_out = {
        Path(name)
        for name, value in zip(answer[::3], answer[2::3], strict=False)
        if value not in {"unspecified", "unset"}
    }
    return [path for path in paths if not left_out & {path, *path.parents}]


def _with_parents(folder: Path, paths: list[Path]) -> set[Path]:
    """Return the folders whose .gitattributes may apply."""
    return {*(folder / path.parent for path in paths), folder, *folder.parents}


def _git(folder: Path, *arguments: str, stdin: str = "") -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, check=True, capture_output=True, text=True, input=stdin)
    except FileNotFoundError:
        raise ListingError(f"{folder} is a git checkout, but git is not installed.") from None
    except subprocess.CalledProcessError as error:
        raise ListingError(
            f"git can't list the files of {folder}: {error.stderr.strip()}"
        ) from None
    return result.stdout
