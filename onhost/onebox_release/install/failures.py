"""Messages for a failed installation of packages."""

from __future__ import annotations

import re
import syslog
from collections.abc import Iterable

from onebox_release.install.credentials import Credentials

NO_ROOM = "the disk is nearly full. Free some space, or use a larger disk"
STOPPED = {
    "timeout": "it took longer than half an hour",
    "oom-kill": "it used more than half of the server's memory",
}
# Patterns of uv's errors and our messages; the first match counts. No pattern matches text that the
# archive's files could contribute.
KINDS = (
    (r"lockfile .*needs to be updated", "uv.lock does not match pyproject.toml: run `uv lock`"),
    (r"Hash mismatch", "a file does not match its hash"),
    (r"no(?: matching)? wheels? .*(?:platform|tag)|doesn't have a (?:source|wheel)|no binary",
     "a package has no wheel for this server, and `build` is off"),
    (r"Failed to build|build backend|Build backend", "a package could not be built"),
    (r"\b(?:401|403)\b|Unauthorized|Forbidden", "an index denied access"),
    (r"\b404\b|was not found in", "a package was not found on its index"),
    (r"dns error|failed to lookup address|error sending request|[Cc]onnect|timed out|tcp",
     "an index could not be reached"),
    (r"No solution found", "the packages conflict with each other, or with this server's Python"),
    (r"No space left|File too large|os error 2[78]", "it ran out of space"),
    (r"Git operation failed|git", "a git repository could not be read"),
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """Return a text with control characters other than line breaks and tabs escaped."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def message(
    output: str,
    why: str,
    names: Iterable[str],
    credentials: Credentials,
    by_key: bool,  # noqa: FBT001
) -> str:
    """Return why packages could not be installed.

    A deploy key gets our message only; uv's output then goes to the journal.
    """
    text = credentials.hidden_in(_of_uv(output))
    if not by_key:
        return "uv could not install the packages:\n" + "\n".join(filter(None, [text, why]))
    for line in text.splitlines()[-100:]:
        syslog.syslog(f"uv: {line[:1000]}")
    kind = why or next(
        (text_of_kind for pattern, text_of_kind in KINDS if re.search(pattern, text)), "uv failed"
    )
    about = _about(text, names)
    named = f" ({about})" if about and not why else ""
    return f"The packages could not be installed: {kind}{named}."


def _of_uv(output: str) -> str:
    """Return the output without systemd-run's own lines."""
    ours = re.compile(
        r"^(?:Running as unit: |Finished with result: |Main processes terminated with: "
        r"|Service runtime: |CPU time consumed: |Memory peak: |IP traffic |IO bytes |Press \^\])"
    )
    return "\n".join(line for line in output.strip().splitlines() if not ours.match(line))


def _about(text: str, names: Iterable[str]) -> str:
    """Return the first package that uv names, if it is one of the archive's."""
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        name = re.sub(r"[-_.]+", "-", word.partition("==")[0]).lower()
        if name in known:
            return name
    return ""
