"""The checks from outside: what they trust, and what they report about closed ports."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
import trustme

from tests.host import outside

DOMAIN = "links.test"


def served(leaf: trustme.LeafCert, client: ssl.SSLContext) -> None:
    """Serve one TLS connection with a certificate, as a client sees it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with socket.create_connection(server.getsockname()) as plain:
                client.wrap_socket(plain, server_hostname=DOMAIN).close()
        finally:
            thread.join()


def pem(leaf: trustme.LeafCert) -> str:
    return leaf.cert_chain_pems[0].bytes().decode()


def test_the_servers_own_certificate_is_trusted_whoever_issued_it() -> None:
    """A release was rolled back because this machine did not trust its own authority."""
    leaf = trustme.CA().issue_cert(DOMAIN)
    served(leaf, outside.trusted(pem(leaf)))
    with pytest.raises(ssl.SSLCertVerificationError):
        served(leaf, outside.trusted())


def test_no_other_certificate_is_trusted_for_it() -> None:
    authority = trustme.CA()
    own, other = authority.issue_cert(DOMAIN), authority.issue_cert(DOMAIN)
    for leaf, anchor in ((other, own), (authority.issue_cert("x.test"), own)):
        with pytest.raises(ssl.SSLCertVerificationError):
            served(leaf, outside.trusted(pem(anchor)))


def test_an_authority_of_ones_own_is_trusted() -> None:
    authority = trustme.CA()
    served(authority.issue_cert(DOMAIN), outside.trusted(authority.cert_pem.bytes().decode()))


def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_ports_that_can_not_be_reached_are_one_sentence() -> None:
    port = closed()
    assert outside.unreachable("127.0.0.1", (port,)) == (
        f"Port {port} (connection refused) of 127.0.0.1 can't be reached from here. Fix: open it in"
        " the provider's firewall; or set `public_address`, if clients reach the server at another"
        " address."
    )
    message = outside.unreachable("127.0.0.1", (port, port), is_set=True)
    assert message.startswith(
        f"Ports {port} (connection refused) and {port} (connection refused) of"
    )
    assert message.endswith("; or correct `public_address`.")


def test_reachable_ports_are_not_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert outside.unreachable("127.0.0.1", (server.getsockname()[1],)) == ""
