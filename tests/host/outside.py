"""The server as the internet sees it. Trust is the machine's own: SSL_CERT_FILE counts."""

from __future__ import annotations

import socket
import ssl

import httpx

TIMEOUT = 5  # seconds


def get(url: str, address: str) -> httpx.Response:
    """Return the answer of the server at `address` to a GET of `url`; redirects aren't followed."""
    target = httpx.URL(url)
    name = target.host
    with httpx.Client(verify=ssl.create_default_context(), trust_env=False) as client:
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
    context = context or ssl.create_default_context()
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


def is_open(address: str, port: int) -> bool:
    """Tell whether the server lets a connection to a TCP port in."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
