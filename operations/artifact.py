"""An app's files as one archive, the same bytes for the same files."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

# Left out where git doesn't say what belongs to the app.
IGNORED = {".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".env"}


@dataclass(frozen=True)
class Artifact:
    """A gzipped tar archive, and the SHA-256 of the tar inside it."""

    content: bytes
    digest: str

    def __repr__(self) -> str:
        return f"Artifact({self.digest[:12]})"


def pack(folder: Path) -> Artifact:
    """Return the archive of a folder: what git would commit, or all but caches without git."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in sorted(_files(folder)):
            archive.add(folder / path, arcname=str(path), recursive=False, filter=_plain)
    content = buffer.getvalue()
    return Artifact(gzip.compress(content, mtime=0), sha256(content).hexdigest())


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Keep of a file's attributes only whether it is executable."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry


def _files(folder: Path) -> Iterable[Path]:
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        paths = _listed_by_git(folder)
    else:
        found = (path.relative_to(folder) for path in folder.rglob("*"))
        paths = [path for path in found if not IGNORED & set(path.parts)]
    for path in paths:
        if (folder / path).is_symlink() and (folder / path).is_dir():
            raise PyinfraError(f"{folder / path} links to a folder; put the folder itself there.")
    return (path for path in paths if (folder / path).is_file())  # a deleted one may be listed


def _listed_by_git(folder: Path) -> list[Path]:
    """Return what git would commit; without git's word, ignored secrets could be shipped."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise PyinfraError(f"{folder} is a git checkout, and git is not installed.") from None
    except subprocess.CalledProcessError as error:
        raise PyinfraError(
            f"git can't list the files of {folder}: {error.stderr.strip()}"
        ) from None
    return [Path(name) for name in result.stdout.split("\0") if name]
