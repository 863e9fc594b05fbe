"""What certbot prints, and the sentence that a person reads."""

from __future__ import annotations

import pytest

from operations.acme_errors import Request, explain

LE = "https://acme-v02.api.letsencrypt.org/directory"
REQUEST = Request(("a.example.com", "b.example.com"), LE, "203.0.113.10")
END = (
    "Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile"
    " /var/log/letsencrypt/letsencrypt.log or re-run Certbot with -v for more details."
)
OPEN = (
    "open port 80 in the provider's firewall, and check that all A and AAAA records of"
    " a.example.com point to this server"
)


def challenge(kind: str, detail: str, *names: str) -> str:
    """Return what certbot prints where a challenge fails."""
    problems = "".join(
        f"\n  Identifier: {name}\n  Type:   {kind}\n  Detail: {detail}\n"
        for name in names or ["a.example.com"]
    )
    return (
        "Saving debug log to /var/log/letsencrypt/letsencrypt.log\n"
        "Requesting a certificate for a.example.com and b.example.com\n\n"
        "Certbot failed to authenticate some domains (authenticator: webroot). The Certificate"
        f" Authority reported these problems:{problems}\n"
        "Hint: The Certificate Authority failed to download the temporary challenge files.\n\n"
        f"Some challenges have failed.\n{END}"
    )


def unexpected(text: str) -> str:
    return f"Saving debug log to x\nAn unexpected error occurred:\n{text}\n{END}"


URL = "http://a.example.com/.well-known/acme-challenge/x"
CASES = {
    "no address": (
        challenge("dns", "DNS problem: NXDOMAIN looking up A for a.example.com - check that a DNS"
                         " record exists for this domain"),
        "a.example.com has no address in DNS",
        "point its A record at 203.0.113.10",
    ),
    "no address, twice": (
        challenge("dns", "no valid A records found for x; no valid AAAA records found for x",
                  "a.example.com", "b.example.com"),
        "a.example.com has no address in DNS; b.example.com has no address in DNS",
        "point its A record at 203.0.113.10",
    ),
    "pebble's words for it": (
        challenge("connection", f'Get "{URL}": could not resolve URL "{URL}"'),
        "a.example.com has no address in DNS",
        "point its A record at 203.0.113.10",
    ),
    "DNS servers that fail": (
        challenge("dns", "DNS problem: SERVFAIL looking up A for a.example.com - x"),
        "DNS fails for a.example.com (DNS problem: SERVFAIL looking up A for a.example.com - x)",
        "correct the DNS of a.example.com",
    ),
    "a wrong address": (
        challenge("unauthorized", f"198.51.100.7: Invalid response from {URL}: 404"),
        "a.example.com points to 198.51.100.7, which is not this server",
        "point its A record at 203.0.113.10",
    ),
    "a wrong IPv6 address": (
        challenge("unauthorized", f"2001:db8::7: Invalid response from {URL}: 404"),
        "another server (2001:db8::7) answers for a.example.com",
        "point its A record at 203.0.113.10, and its AAAA record to this server or remove it",
    ),
    "port 80 closed by a firewall": (
        challenge("connection", f"203.0.113.10: Fetching {URL}: Timeout during connect (likely"
                                " firewall problem)"),
        "port 80 of a.example.com (203.0.113.10) times out for the authority", OPEN,
    ),
    "port 80 closed": (
        challenge("connection", f"203.0.113.10: Fetching {URL}: Connection refused"),
        "port 80 of a.example.com (203.0.113.10) is closed for the authority", OPEN,
    ),
    "port 80 closed, in pebble's words": (
        challenge("connection", f'Get "{URL}": dial tcp [2001:db8::7]:80: connect: connection'
                                " refused"),
        "port 80 of a.example.com (2001:db8::7) is closed for the authority", OPEN,
    ),
    "CAA": (
        challenge("caa", "CAA record for a.example.com prevents issuance"),
        "a CAA record of a.example.com forbids it",
        "allow the authority in the CAA record of a.example.com, or remove the record",
    ),
    "the authority is down": (
        unexpected("requests.exceptions.ConnectTimeout: HTTPSConnectionPool(host='acme-v02.api."
                   "letsencrypt.org', port=443): Max retries exceeded with url: /directory (Caused"
                   " by ConnectTimeoutError(x, 'Connection to x timed out. "
                   "(connect timeout=45)'))"),
        "the ACME server acme-v02.api.letsencrypt.org can't be reached from the server (timed out)",
        f"run `curl -I {LE}` on the server",
    ),
    "no DNS on the server": (
        unexpected('requests.exceptions.ConnectionError: x (Caused by NameResolutionError("x:'
                   " Failed to resolve 'acme' ([Errno -2] Name or service not known)\"))"),
        ("the ACME server acme-v02.api.letsencrypt.org can't be reached from the server"
        " (failed to resolve)"),
        f"run `curl -I {LE}` on the server",
    ),
    "an authority of one's own that is not trusted": (
        unexpected("requests.exceptions.SSLError: x (Caused by SSLError(SSLCertVerificationError(1,"
                   " '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: x')))"),
        "the server does not trust the ACME server acme-v02.api.letsencrypt.org",
        "set `tls.server_ca` to the PEM file of its CA",
    ),
    "a rate limit": (
        unexpected("There were too many requests of a given type :: too many failed authorizations"
                   ' (5) for "a.example.com" in the last 1h0m0s, retry after 2026-12-05 11:08:47'
                   " UTC: see https://letsencrypt.org/docs/rate-limits/#x"),
        ("the authority's rate limit is reached until 2026-12-05 11:08:47 UTC (There were too"
        " many requests of a given type :: too many failed authorizations (5) for"
        ' "a.example.com" in the last 1h0m0s)'),
        "wait until then",
    ),
    "a rate limit without a time": (
        unexpected("There were too many requests of a given type :: too many currently pending"),
        ("the authority's rate limit is reached (There were too many requests of a given type ::"
        " too many currently pending)"),
        "wait an hour",
    ),
    "an address for e-mail that is none": (
        unexpected("Unable to register an account with ACME server. The ACME server believes"
                   " you@example.com is an invalid email address."),
        ("the authority refuses the e-mail address (Unable to register an account with ACME server."
        " The ACME server believes you@example.com is an invalid email address)"),
        "correct `tls.email`",
    ),
    "a forbidden name": (
        unexpected("The server will not issue certificates for the identifier :: Cannot issue for"
                   ' "a.example.com": forbidden by policy'),
        ("the authority refuses the name (The server will not issue certificates for the identifier"
        ' :: Cannot issue for "a.example.com": forbidden by policy)'),
        "correct `domains`",
    ),
    "two certbots": (
        "Another instance of Certbot is already running.\n" + END,
        "another certbot is running on the server",
        "wait until it ends",
    ),
    "anything else": (
        unexpected("OSError: [Errno 28] No space left on device"),
        "certbot failed (OSError: [Errno 28] No space left on device)",
        "read /var/log/letsencrypt/letsencrypt.log on the server",
    ),
    "nothing": (
        "",
        "certbot failed (it printed nothing)",
        "read /var/log/letsencrypt/letsencrypt.log on the server",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("printed", "cause", "fix"), CASES.values(), ids=CASES)
def test_a_failure_is_one_sentence_with_the_fix(printed: str, cause: str, fix: str) -> None:
    message = REQUEST.message(explain(printed, REQUEST))
    names = "a.example.com, b.example.com"
    assert message == f"No certificate for {names}: {cause}. Fix: {fix}; then deploy again."


def test_where_the_servers_address_is_unknown_none_is_named() -> None:
    request = Request(("a.example.com",), LE)
    why = explain(challenge("connection", f"198.51.100.7: Fetching {URL}: refused"), request)
    assert why.cause == "port 80 of a.example.com (198.51.100.7) is closed for the authority"


def test_what_others_wrote_is_short_and_moves_no_cursor() -> None:
    page = "\x1b[2J\u202e" + "x" * 500
    why = explain(challenge("malformed", page), REQUEST)
    assert "\x1b" not in why.cause
    assert "\u202e" not in why.cause
    assert len(why.cause) < 200


def test_a_failed_change_of_the_account_is_reported() -> None:
    request = Request((), LE)
    message = request.message(explain("", request))
    assert message.startswith("The ACME account was not changed: certbot failed")
