"""What is said of an installation of packages that failed."""

from __future__ import annotations

import re
import syslog
from collections.abc import Iterable

from onebox_release.install.credentials import Credentials

NO_ROOM = "it would have taken the last of the disk's space. Free some, or take a larger one"
STOPPED = {
    "timeout": "it took longer than half an hour",
    "oom-kill": "it took more than half of the server's memory",
}
# The kinds of failure, by what uv says of each; the first that is found is told. What a file's own
# text could have put there is none of them.
KINDS = (
    (r"lockfile .*needs to be updated", "uv.lock doesn't fit pyproject.toml: run `uv lock`"),
    (r"Hash mismatch", "a file is not what its hash says"),
    (r"no(?: matching)? wheels? .*(?:platform|tag)|doesn't have a (?:source|wheel)|no binary",
     "a package has no wheel for this server, and `build` is off"),
    (r"Failed to build|build backend|Build backend", "a package could not be built"),
    (r"\b(?:401|403)\b|Unauthorized|Forbidden", "an index refused the access"),
    (r"\b404\b|was not found in", "a package is not where it is said to be"),
    (r"dns error|failed to lookup address|error sending request|[Cc]onnect|timed out|tcp",
     "an index could not be reached"),
    (r"No solution found", "the packages don't go together, or not with this server's Python"),
    (r"No space left|File too large|os error 2[78]", "it took more space than there is for it"),
    (r"Git operation failed|git", "a git repository could not be read"),
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """Return a text in which nothing but line breaks and tabs controls what shows it."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def failed(
    told: str,
    why: str,
    names: Iterable[str],
    given: Credentials,
    by_key: bool,  # noqa: FBT001
) -> str:
    """Return why packages could not be installed.

    To whoever has a deploy key in words of our own; what uv said is in the journal then.
    """
    text = given.hidden_in(_of_uv(told))
    if not by_key:
        return "uv could not install the packages:\n" + "\n".join(filter(None, [text, why]))
    for line in text.splitlines()[-100:]:
        syslog.syslog(f"uv: {line[:1000]}")
    kind = why or next((says for seen, says in KINDS if re.search(seen, text)), "uv failed")
    about = _about(text, names)
    named = f" ({about})" if about and not why else ""
    return f"The packages could not be installed: {kind}{named}."


def _of_uv(told: str) -> str:
    """Return what was said without systemd-run's own lines."""
    ours = re.compile(
        r"^(?:Running as unit: |Finished with result: |Main processes terminated with: "
        r"|Service runtime: |CPU time consumed: |Memory peak: |IP traffic |IO bytes |Press \^\])"
    )
    return "\n".join(line for line in told.strip().splitlines() if not ours.match(line))


def _about(text: str, names: Iterable[str]) -> str:
    """Return the package that uv names first, if the archive has one of that name."""
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        name = re.sub(r"[-_.]+", "-", word.partition("==")[0]).lower()
        if name in known:
            return name
    return ""
