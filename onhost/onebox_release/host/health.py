"""Health requests to a release, over its own socket or through nginx."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onebox_release.report import plain

PATIENCE = 5  # seconds for one response
# Requests over the app's own socket send nginx's headers too: some apps rely on them.
AS_NGINX = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}


@dataclass(frozen=True)
class Answer:
    """A response: its status, the release in its X-Release header, and its body."""

    status: int
    release: str | None
    body: str

    @property
    def summary(self) -> str:
        """Return the status with its name."""
        return f"{self.status} {http.client.responses.get(self.status, '')}".strip()

    def __str__(self) -> str:
        return f"{self.status} {http.client.responses.get(self.status, '')}: {self.body}".strip()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, host: str, patience: float) -> None:
        super().__init__(host, timeout=patience)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class NginxConnection(http.client.HTTPSConnection):
    """HTTPS to this server's nginx, with the name of an app's domain.

    The certificate is not verified: the request only checks which release answers.
    """

    def __init__(self, host: str, source: str = "") -> None:
        self.unverified = ssl._create_unverified_context()  # noqa: S323
        super().__init__(host, timeout=PATIENCE, context=self.unverified)
        self.source = (source, 0) if source else None

    def connect(self) -> None:
        """Connect to the loopback address, with the domain as server name (SNI)."""
        plain = socket.create_connection(("127.0.0.1", 443), self.timeout, self.source)
        self.sock = self.unverified.wrap_socket(plain, server_hostname=self.host)


class NginxPlainConnection(http.client.HTTPConnection):
    """HTTP to this server's nginx, while there is no certificate."""

    def __init__(self, host: str, source: str = "") -> None:
        super().__init__(host, timeout=PATIENCE)
        self.source = (source, 0) if source else None

    def connect(self) -> None:
        """Connect to the loopback address."""
        self.sock = socket.create_connection(("127.0.0.1", 80), self.timeout, self.source)


def unanswered(connection: http.client.HTTPConnection, error: Exception) -> str:
    """Describe an exception of `ask`: what did not answer, and why."""
    if isinstance(connection, UnixConnection):
        who, where = "the release", f"socket {connection.path}"
    else:
        who, where = "nginx", f"port {connection.port} of 127.0.0.1"
    if isinstance(error, FileNotFoundError):
        return f"{who}'s {where} is missing"
    if isinstance(error, ConnectionRefusedError):
        return f"{who} does not listen on {where}"
    if isinstance(error, TimeoutError):
        return f"{who} did not answer within {connection.timeout:g} s"
    if isinstance(error, ssl.SSLError):
        return f"{who} failed the TLS handshake on {where}: {error.reason or error}"
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected):
        return f"{who} closed the connection without an answer"
    return f"the request to {who} on {where} failed: {type(error).__name__}: {error}"


def ask(connection: http.client.HTTPConnection, path: str) -> Answer:
    """Return the response to a GET. Raises OSError or HTTPException if there is none."""
    # The connection's timeout is per packet: a response could arrive byte by byte for hours.
    expired = threading.Event()
    limit = threading.Timer(connection.timeout or PATIENCE, _shut_down, (connection, expired))
    limit.daemon = True
    try:
        connection.connect()
        limit.args = (connection.sock, expired)
        limit.start()
        connection.request("GET", path, headers=AS_NGINX)
        response = connection.getresponse()
        body = plain(response.read(2000).decode(errors="replace"))
        release = response.getheader("x-release")
    except (OSError, http.client.HTTPException) as error:
        raise (TimeoutError("timed out") if expired.is_set() else error) from error
    # http.client raises these for invalid HTTP. Last, as an untrusted certificate is a ValueError
    # too.
    except (ValueError, RecursionError) as error:
        raise http.client.HTTPException(f"not an HTTP response ({type(error).__name__})") from error
    finally:
        limit.cancel()
        connection.close()
    if expired.is_set():
        raise TimeoutError("timed out")
    return Answer(response.status, release if release is None else plain(release, 100), body)


def _shut_down(connection: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
