"""An app's files as one reproducible archive."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

from settings.contents import Entry, ListingError, Refused, read


@dataclass(frozen=True)
class Artifact:
    """A gzipped tar archive, and the SHA-256 of the tar inside it."""

    content: bytes
    digest: str

    def __repr__(self) -> str:
        return f"Artifact({self.digest[:12]})"


def pack(folder: Path) -> Artifact:
    """Return the archive of a folder: what git would commit, or, without git, all but caches.

    Raises PyinfraError that lists every file that must not be packed.
    """
    buffer, refused = io.BytesIO(), []
    try:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for found in read(folder):
                if isinstance(found, Refused):
                    refused.append(found)
                else:
                    archive.addfile(_plain(found), io.BytesIO(found.content))
    except ListingError as error:
        raise PyinfraError(str(error)) from None
    if refused:
        lines = "\n".join(f"  {each}\n    fix: {each.fix}" for each in refused)
        raise PyinfraError(f"{folder} can't be packed; nothing was sent.\n{lines}")
    content = buffer.getvalue()
    return Artifact(gzip.compress(content, mtime=0), sha256(content).hexdigest())


def _plain(entry: Entry) -> tarfile.TarInfo:
    """Return a tar entry with no attribute of the file but its executable bit."""
    plain = tarfile.TarInfo(str(entry.path))
    plain.uname = plain.gname = "root"
    plain.mode = 0o755 if entry.executable else 0o644
    plain.size = len(entry.content)
    return plain
