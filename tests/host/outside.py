"""The server as clients on the internet reach it.

A certificate is trusted if this machine trusts its issuer (SSL_CERT_FILE applies), or if it is the
server's own, read over SSH, whoever issued it.
"""

from __future__ import annotations

import socket
import ssl

import httpx

TIMEOUT = 5  # seconds
UNVERIFIED = "Could not verify"  # how messages about what could not be verified begin
server_certificates: set[str] = set()
"""The verified servers' own certificates, in PEM."""


def trusted(*authorities: str) -> ssl.SSLContext:
    """Return a context that trusts this machine's authorities and the given PEM certificates."""
    context = ssl.create_default_context()
    if authorities:
        context.load_verify_locations(cadata="\n".join(authorities))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a certificate need not be a root
    return context


def get(url: str, address: str) -> httpx.Response:
    """Return the response of the server at `address` to a GET of `url`, without redirects."""
    target = httpx.URL(url)
    name = target.host
    with httpx.Client(verify=trusted(*server_certificates), trust_env=False) as client:
        return client.get(
            target.copy_with(host=address),
            headers={"Host": name},
            extensions={"sni_hostname": name},
            timeout=TIMEOUT,
        )


def handshake(
    address: str, name: str | None, context: ssl.SSLContext | None = None
) -> ssl.SSLSocket:
    """Return a TLS connection to port 443, to be closed. Raises ssl.SSLError if rejected."""
    context = context or trusted(*server_certificates)
    plain = socket.create_connection((address, 443), TIMEOUT)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def unverified() -> ssl.SSLContext:
    """Return a context that verifies nothing, for checks of the protocol."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def unreachable(address: str, ports: tuple[int, ...] = (80, 443), *, is_set: bool = False) -> str:
    """Return in one sentence which ports are unreachable, with the fix; "" if none is.

    `is_set` means that the address is the inventory's `public_address`.
    """
    found = [f"{port} ({why})" for port in ports if (why := reason_of_refusal(address, port))]
    if not found:
        return ""
    named = f"Port{'s' if found[1:] else ''} {' and '.join(found)} of {address}"
    other = "set `public_address`, if clients reach the server at another address"
    fix = "correct `public_address`" if is_set else other
    return f"{named} can't be reached from here. Fix: open it in the provider's firewall; or {fix}."


def reason_of_refusal(address: str, port: int) -> str:
    """Return why a TCP port is unreachable; "" if it is reachable."""
    try:
        socket.create_connection((address, port), timeout=TIMEOUT).close()
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def is_open(address: str, port: int) -> bool:
    """Return whether a TCP port accepts a connection."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
