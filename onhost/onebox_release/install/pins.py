"""Filter a requirements.txt for uv: packages with their versions, and nothing else.

A holder of a deploy key can write that file. `-r` would show any file in uv's errors, and `-e`
would run code of the archive.
"""

from __future__ import annotations

import re

from onebox_release.errors import ReleaseError

# No two adjacent repetitions of white space: a line of blanks would take hours.
PACKAGE = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\]\s*)?"
# Same as the deployer's check in settings/source.py.
GIT = r"@\s*git\+(https|ssh)://\S+@[0-9a-f]{40}(#\S+)?"
PINNED = re.compile(rf"{PACKAGE}(===?\s*[\w.!+-]+|{GIT})\s*(;.*)?")
HASH = re.compile(r"\s--hash=[a-z0-9]+:[0-9a-f]+(?=\s|$)")
LONGEST = 4096  # characters of a line without its hashes
COMMENT = re.compile(r"(^|\s)#.*")


def pinned_lines(text: str, *, build: bool = True, hashed: bool = False) -> str:
    """Return the lines that pin a package, each with its hashes on one line.

    Raises ReleaseError for any other line: a git URL without `build`, or a line without a hash if
    `hashed`.
    """
    pinned = []
    for line in text.replace("\\\n", " ").splitlines():
        whole = COMMENT.sub("", line)
        pin = " ".join(HASH.sub("", whole).split())
        if not pin:
            continue
        if "\\" in pin or len(pin) > LONGEST or not PINNED.fullmatch(pin):
            raise ReleaseError(
                'requirements.txt has a line that is not "name==version".'
                " List the packages in requirements.in, and run `uv pip compile`."
            )
        hashes = HASH.findall(whole)
        if re.search(r"@\s*git\+", pin):  # pinned by its commit
            if not build:
                raise ReleaseError(
                    "requirements.txt has a git URL, which needs the setting `build`."
                )
        elif hashed and not hashes:
            raise ReleaseError(
                "requirements.txt has a line without a hash, which deploy keys require."
                " Run `uv pip compile --generate-hashes`."
            )
        pinned.append(pin + "".join(hashes))
    return "".join(f"{line}\n" for line in pinned)
