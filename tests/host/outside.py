"""The server as the internet sees it.

A certificate is trusted that this machine trusts (SSL_CERT_FILE counts), or that is the server's
own, read over SSH: then it is known to be the right one, whoever issued it.
"""

from __future__ import annotations

import socket
import ssl

import httpx

TIMEOUT = 5  # seconds
UNVERIFIED = "Could not verify"  # what is told of begins so
anchors: set[str] = set()
"""The certificates of the servers that are verified, in PEM."""


def trusted(*authorities: str) -> ssl.SSLContext:
    """Return a context that trusts what this machine does, and some certificates in PEM."""
    context = ssl.create_default_context()
    if authorities:
        context.load_verify_locations(cadata="\n".join(authorities))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # one that is no root ends a chain
    return context


def get(url: str, address: str) -> httpx.Response:
    """Return the answer of the server at `address` to a GET of `url`; redirects aren't followed."""
    target = httpx.URL(url)
    name = target.host
    with httpx.Client(verify=trusted(*anchors), trust_env=False) as client:
        return client.get(
            target.copy_with(host=address),
            headers={"Host": name},
            extensions={"sni_hostname": name},
            timeout=TIMEOUT,
        )


def handshake(
    address: str, name: str | None, context: ssl.SSLContext | None = None
) -> ssl.SSLSocket:
    """Return a TLS connection to port 443; it is to be closed. Raises ssl.SSLError if refused."""
    context = context or trusted(*anchors)
    plain = socket.create_connection((address, 443), TIMEOUT)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def unverified() -> ssl.SSLContext:
    """Return a context for questions about the protocol, where trust isn't the question."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def unreachable(address: str, ports: tuple[int, ...] = (80, 443), *, is_set: bool = False) -> str:
    """Return in one sentence which ports can't be reached, with the fix; nothing if all can.

    `is_set` says that the address is the inventory's `public_address`.
    """
    found = [f"{port} ({why})" for port in ports if (why := refusal(address, port))]
    if not found:
        return ""
    named = f"Port{'s' if found[1:] else ''} {' and '.join(found)} of {address}"
    other = "set `public_address`, if clients reach the server at another address"
    fix = "correct `public_address`" if is_set else other
    return f"{named} can't be reached from here. Fix: open it at the firewall there; or {fix}."


def refusal(address: str, port: int) -> str:
    """Return why a TCP port can't be reached, in words; nothing if it can."""
    try:
        socket.create_connection((address, port), timeout=TIMEOUT).close()
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def is_open(address: str, port: int) -> bool:
    """Tell whether the server lets a connection to a TCP port in."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
