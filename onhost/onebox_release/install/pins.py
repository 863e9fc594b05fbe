"""What uv is given of a requirements.txt: packages with their versions, and nothing else.

Whoever has a deploy key writes that file, and uv reads it as root. `-r` would show any file of the
server in uv's complaints, and `-e` would run what the archive brings.
"""

from __future__ import annotations

import re

from onebox_release.errors import ReleaseError

# No two repetitions of white space side by side: a line of blanks would take hours.
PACKAGE = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\]\s*)?"
# As the deployer's own check in settings/source.py has it.
GIT = r"@\s*git\+(https|ssh)://\S+@[0-9a-f]{40}(#\S+)?"
PINNED = re.compile(rf"{PACKAGE}(===?\s*[\w.!+-]+|{GIT})\s*(;.*)?")
HASH = re.compile(r"\s--hash=[a-z0-9]+:[0-9a-f]+(?=\s|$)")
LONGEST = 4096  # characters of a line without its hashes
COMMENT = re.compile(r"(^|\s)#.*")


def only(text: str, *, build: bool = True, hashed: bool = False) -> str:
    """Return the lines that pin a package, with their hashes, each on a line of its own.

    Raises ReleaseError where there is anything else: what comes from git where nothing may be
    built, or has no hash where each must be `hashed`.
    """
    pinned = []
    for line in text.replace("\\\n", " ").splitlines():
        whole = COMMENT.sub("", line)
        wanted = " ".join(HASH.sub("", whole).split())
        if not wanted:
            continue
        if "\\" in wanted or len(wanted) > LONGEST or not PINNED.fullmatch(wanted):
            raise ReleaseError(
                'requirements.txt has a line that is no "name==version".'
                " Name what the app needs in requirements.in, and make it by `uv pip compile`."
            )
        hashes = HASH.findall(whole)
        if re.search(r"@\s*git\+", wanted):  # pinned by its commit
            if not build:
                raise ReleaseError("requirements.txt names git: that needs the app's `build`.")
        elif hashed and not hashes:
            raise ReleaseError(
                "requirements.txt has a line without a hash, which a deploy key's must have."
                " Make it by `uv pip compile --generate-hashes`."
            )
        pinned.append(wanted + "".join(hashes))
    return "".join(f"{line}\n" for line in pinned)
