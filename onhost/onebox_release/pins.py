"""What uv is given of a requirements.txt: packages with their versions, and nothing else.

Whoever has a deploy key writes that file, and uv reads it as root. `-r` would show any file of the
server in uv's complaints, and `-e` would run what the archive brings.
"""

from __future__ import annotations

import re

from .errors import ReleaseError

PACKAGE = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*"
# As the deployer's own check in validation/source.py has it.
PINNED = re.compile(rf"{PACKAGE}(===?\s*[\w.!+-]+|@\s*git\+\S+@[0-9a-f]{{40}}(#\S+)?)\s*(;.*)?")
HASH = re.compile(r"\s--hash=[a-z0-9]+:[0-9a-f]+(?=\s|$)")
COMMENT = re.compile(r"(^|\s)#.*")


def only(text: str) -> str:
    """Return the lines that pin a package, with their hashes, each on a line of its own.

    Raises ReleaseError where there is anything else.
    """
    pinned = []
    for line in text.replace("\\\n", " ").splitlines():
        whole = COMMENT.sub("", line)
        wanted = HASH.sub("", whole).strip()
        if not wanted:
            continue
        if "\\" in wanted or not PINNED.fullmatch(wanted):
            raise ReleaseError(
                'requirements.txt has a line that is no "name==version".'
                " Name what the app needs in requirements.in, and make it by `uv pip compile`."
            )
        pinned.append(wanted + "".join(HASH.findall(whole)))
    return "".join(f"{line}\n" for line in pinned)
