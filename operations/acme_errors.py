"""Why certbot failed, in one sentence with the fix, from its output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

LOG = "/var/log/letsencrypt/letsencrypt.log"
LENGTH = 160  # characters quoted of another program's output
PROBLEM = re.compile(
    r"^\s*(?:Identifier|Domain): *(?P<name>\S+)\n\s*Type: *(?P<kind>\S+)\n"
    r"\s*Detail: *(?P<detail>.*)$",
    re.MULTILINE,
)
ADDRESS = r"(?P<address>\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-fA-F]*:[0-9a-fA-F:]+\]?)"
ANSWERED = re.compile(rf"^{ADDRESS}: |dial tcp {ADDRESS.replace('address', 'dialed')}:80")
NO_ADDRESS = re.compile(
    r"NXDOMAIN|no valid A(AAA)? records|could not resolve|no such host", re.IGNORECASE
)
TIMEOUT = re.compile(r"timeout|timed out|deadline", re.IGNORECASE)
RATE = re.compile(r"too many|rateLimited|rate limit", re.IGNORECASE)
LATER = re.compile(r"retry after ([\dTZ:+ -]*\d(?: ?UTC|Z)?)", re.IGNORECASE)
UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError")
UNREACHABLE = re.compile(
    r"requests\.exceptions|ConnectionError|Max retries exceeded|ReadTimeout|Network is unreachable"
)
REASON = re.compile(
    r"Name or service not known|Temporary failure in name resolution|Failed to resolve"
    r"|Connection refused|Connection reset|No route to host|Network is unreachable|timed out",
    re.IGNORECASE,
)
CONTACT = re.compile(
    r"invalidContact|invalidEmail|contact email|Unable to register an account", re.IGNORECASE
)
POLICY = re.compile(
    r"rejectedIdentifier|forbidden by policy|refuses to issue|Cannot issue for", re.IGNORECASE
)
UNINTERESTING = re.compile(
    r"^(Saving debug log|Ask for help|Requesting a|An unexpected error|Hint:|Some challenges|\s*$)"
)


@dataclass(frozen=True)
class Failure:
    """A cause and its fix."""

    cause: str
    fix: str
    unreachable: bool = False
    """Whether the ACME server could not be reached."""


@dataclass(frozen=True)
class Request:
    """What certbot was run for: these domains, or without any, the account."""

    domains: tuple[str, ...]
    server: str
    address: str = ""
    """The server's own; empty if unknown."""

    @property
    def authority(self) -> str:
        """Return the ACME server's host name."""
        return urlsplit(self.server).netloc

    def message(self, failure: Failure) -> str:
        """Return a failure's message."""
        names = ", ".join(self.domains)
        what = f"No certificate for {names}" if names else "The ACME account was not changed"
        return f"{what}: {failure.cause}. Fix: {failure.fix}; then deploy again."


def explain(output: str, request: Request) -> Failure:
    """Return the cause and the fix of a failure."""
    if problems := list(PROBLEM.finditer(output)):
        failures = [
            _challenge(p["name"], p["kind"], p["detail"], request.address) for p in problems
        ]
        return Failure(
            "; ".join(dict.fromkeys(failure.cause for failure in failures)),
            "; ".join(dict.fromkeys(failure.fix for failure in failures)),
        )
    if RATE.search(output):
        return _limited(output)
    return _connection(output, request) or _refusal(output)


def _connection(output: str, request: Request) -> Failure | None:
    """Return why certbot did not reach the ACME server; None if it did."""
    if UNTRUSTED.search(output):
        cause = f"the server does not trust the ACME server {request.authority}"
        return Failure(cause, "set `tls.server_ca` to the PEM file of its CA", unreachable=True)
    if UNREACHABLE.search(output):
        reason = REASON.search(output)
        cause = f"the ACME server {request.authority} can't be reached from the server"
        cause += f" ({reason[0].lower()})" if reason else ""
        return Failure(cause, f"run `curl -I {request.server}` on the server", unreachable=True)
    return None


def _refusal(output: str) -> Failure:
    """Return why the authority refused, or certbot failed."""
    text = _last(output)
    if CONTACT.search(output):
        return Failure(f"the authority refuses the e-mail address ({text})", "correct `tls.email`")
    if POLICY.search(output):
        return Failure(f"the authority refuses the name ({text})", "correct `domains`")
    if "Another instance of Certbot" in output:
        return Failure("another certbot is running on the server", "wait until it ends")
    return Failure(f"certbot failed ({text})", f"read {LOG} on the server")


def _challenge(name: str, kind: str, detail: str, own: str) -> Failure:
    """Return why the authority could not validate a name."""
    if kind == "caa" or "CAA record" in detail:
        fix = f"allow the authority in the CAA record of {name}, or remove the record"
        return Failure(f"a CAA record of {name} forbids it", fix)
    if RATE.search(kind) or "rate limit" in detail:
        return _limited(detail)
    reason = _plain(detail)
    if NO_ADDRESS.search(detail):
        return Failure(f"{name} has no address in DNS", f"point {_record(own)}")
    if kind == "dns":
        return Failure(f"DNS fails for {name} ({reason})", f"correct the DNS of {name}")
    return _unanswered(name, kind, detail, own) or Failure(
        f"{name}: {reason}", f"read {LOG} on the server"
    )


def _unanswered(name: str, kind: str, detail: str, own: str) -> Failure | None:
    """Return why the address of a name did not respond with the challenge."""
    match = ANSWERED.search(detail)
    address = (match["address"] or match["dialed"]).strip("[]") if match else ""
    at = f" ({address})" if address else ""
    if address and own and ":" not in address and ":" not in own and address != own:
        cause = f"{name} points to {address}, which is not this server"
        return Failure(cause, f"point {_record(own)}")
    if kind == "connection":
        how = "times out" if TIMEOUT.search(detail) else "is closed"
        return Failure(
            f"port 80 of {name}{at} {how} for the authority",
            f"open port 80 in the provider's firewall, and check that all A and AAAA records of"
            f" {name} point to this server",
        )
    if kind == "unauthorized":
        fix = f"point {_record(own)}, and its AAAA record to this server or remove it"
        return Failure(f"another server{at} answers for {name}", fix)
    return None


def _record(own: str) -> str:
    return f"its A record at {own}" if own else "its A record at the server"


def _limited(text: str) -> Failure:
    later = LATER.search(text)
    until = f" until {later[1].strip()}" if later else ""
    return Failure(
        f"the authority's rate limit is reached{until} ({_last(text)})",
        "wait until then" if later else "wait an hour",
    )


def _last(output: str) -> str:
    """Return the last meaningful line."""
    lines = [line for line in output.splitlines() if not UNINTERESTING.match(line)]
    return _plain(_without_links(lines)) if lines else "it printed nothing"


def _without_links(lines: Sequence[str]) -> str:
    return re.sub(r",? retry after.*|:? see https?://\S+", "", lines[-1])


def _plain(text: str) -> str:
    """Return foreign text without terminal control sequences, cut to LENGTH."""
    plain = "".join(c for c in " ".join(text.split()) if c.isprintable()).rstrip(".")
    return plain if len(plain) <= LENGTH else f"{plain[: LENGTH - 3]}..."
