"""An app's code from a git repository, fetched to this machine at an exact commit."""

from __future__ import annotations

import os
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from settings.mistakes import invalid

PREFIX = "git+"
COMMIT = re.compile(r"[0-9a-f]{40}")
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
SUBDIRECTORY = re.compile(r"(subdirectory=(?P<folder>[\w-][\w./-]*))?")
EXAMPLE = "git+https://example.com/links.git@main#subdirectory=app"


def checkout(source: object) -> object:
    """Return the folder of a repository's commit; anything but a git URL is returned unchanged.

    Branches and tags are resolved at each run. A cached commit is not fetched again; the cache may
    be deleted at any time.
    """
    if not isinstance(source, str) or not source.startswith(PREFIX):
        return source
    url, ref, folder = _parsed(source)
    commit = ref if COMMIT.fullmatch(ref) else _resolved(url, ref)
    path = _cache() / sha256(url.encode()).hexdigest()[:12] / commit
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".") as temporary:
            new = Path(temporary, commit)
            _git("init", "--quiet", str(new))
            _git("-C", str(new), "fetch", "--quiet", "--depth=1", "--", url, commit)
            _git("-C", str(new), "checkout", "--quiet", "--detach", commit)
            new.rename(path)
    return path / folder


def _parsed(source: str) -> tuple[str, str, str]:
    """Return the URL, ref and folder of a source in pip's and uv's notation."""
    parts = urlsplit(source.removeprefix(PREFIX))
    path, _, ref = parts.path.rpartition("@")
    inside = SUBDIRECTORY.fullmatch(parts.fragment)
    if parts.password or (parts.scheme == "https" and parts.username):
        raise invalid(
            "a git URL without a password or token",
            "remove it; git asks its own credential helper, or use git+ssh:// and a key",
            found="a URL with one",
        )
    known = parts.scheme in {"https", "ssh", "file"} and path and inside and not parts.query
    if not known or not REF.fullmatch(ref) or ".." in parts.fragment:
        raise invalid("a git URL with a branch, tag or full commit", f'write it like "{EXAMPLE}"')
    url = parts._replace(path=path, fragment="").geturl()
    return url, ref, (inside["folder"] or "") if inside else ""


def _resolved(url: str, ref: str) -> str:
    """Return the commit that a tag or branch points to."""
    # An annotated tag is its own object; ls-remote lists the commit as TAG^{}.
    names = [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
    lines = _git("ls-remote", "--", url, *names).splitlines()
    found = {name: commit for commit, name in (line.split("\t") for line in lines)}
    for name in names:
        if name in found:
            return found[name]
    fix = "correct the part after the last @"
    raise invalid("a branch, tag or full commit", fix, found=f"{ref}, which doesn't exist")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onebox/git"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, input="")
    except FileNotFoundError:
        raise invalid("git on this machine", "install git", found="none") from None
    if result.returncode:
        error = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        fix = "correct the URL, or fix what git reports"
        raise invalid("a repository that git can fetch", fix, found=error)
    return result.stdout
