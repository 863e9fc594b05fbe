"""HTTP in raw bytes, for requests that no client library sends."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx

from tests.lab_server import Server

TIMEOUT = 10  # seconds to connect
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX = 16_384  # bytes in a frame (RFC 9113's default)
Fields = Sequence[tuple[str | bytes, str | bytes]]


def connect(server: Server, domain: str, *protocols: str, tls: bool = True) -> socket.socket:
    """Return a connection to a server's nginx; `protocols` are offered by ALPN."""
    address = str(server.host.address)
    plain = socket.create_connection((address, 443 if tls else 80), TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return plain
    context = trust(server)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    try:
        return context.wrap_socket(plain, server_hostname=domain)
    except BaseException:
        plain.close()
        raise


def trust(server: Server) -> ssl.SSLContext:
    """Return a TLS context that trusts the lab's certificate authority."""
    return ssl.create_default_context(cafile=str(server.host.acme_root))


def get(
    address: str,
    server: Server,
    domain: str,
    path: str,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Send a GET to one of a server's addresses; return the response."""
    host = f"[{address}]" if ":" in address else address
    given = {"Host": domain, **(headers or {})}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    with httpx.Client(verify=trust(server), timeout=20) as client:
        return client.get(
            f"https://{host}{path}",
            headers=raw,
            extensions={"sni_hostname": domain},
        )


def own_address(server: Server) -> str:
    """Return this machine's address, as the server sees it."""
    return server.run("echo $SSH_CLIENT").split()[0]


def exchange(connection: socket.socket, parts: Iterable[bytes], patience: float = 1.0) -> bytes:
    """Send parts; return all that is received until idle for `patience` seconds."""
    with suppress(OSError):
        for part in parts:
            connection.sendall(part)
    return received(connection, patience)


def received(connection: socket.socket, patience: float) -> bytes:
    """Return all that is received until the end, or until idle for `patience` seconds."""
    connection.settimeout(patience)
    found = b""
    with suppress(OSError):
        while part := connection.recv(65_536):
            found += part
    return found


def number(value: int, prefix: int, first: int = 0) -> bytes:
    """Encode an integer for HPACK, after the bits of `first` (RFC 7541, 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    value, encoded = value - most, [first | most]
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def text(value: str | bytes) -> bytes:
    """Encode a string literal for HPACK, without Huffman coding."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    return number(len(raw), 7) + raw


def block(fields: Fields) -> bytes:
    """Encode header fields, each as a literal without indexing."""
    return b"".join(b"\x00" + text(name) + text(value) for name, value in fields)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream
    ) + payload  # fmt: skip


def pseudo(method: str, path: str, authority: str) -> list[tuple[str | bytes, str | bytes]]:
    """Return the pseudo-header fields of a request."""
    return [
        (":method", method), (":scheme", "https"), (":path", path), (":authority", authority)
    ]  # fmt: skip


def request(stream: int, fields: Fields, body: bytes | None = None) -> bytes:
    """Return the frames of a request; with `body`, its DATA frames too."""
    frames = frame(
        HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream, block(fields)
    )
    parts = [(body or b"")[i : i + MAX] for i in range(0, len(body or b""), MAX)] or [b""]
    if body is not None:
        for i, part in enumerate(parts):
            frames += frame(DATA, END_STREAM if i == len(parts) - 1 else 0, stream, part)
    return frames


@dataclass
class Http2:
    """An HTTP/2 connection, and what was received on it."""

    connection: socket.socket
    statuses: dict[int, int] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    reset: set[int] = field(default_factory=set)
    gone: bool = False
    rest: bytes = b""
    window: int = 65_535

    @classmethod
    def to(cls, server: Server, domain: str) -> Http2:
        """Connect and send minimal settings."""
        connection = connect(server, domain, "h2")
        # Windows large enough that no response waits for an update.
        settings = struct.pack(">HI", 4, 2**31 - 1)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        connection.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535)))
        return cls(connection)

    def send(self, frames: bytes) -> None:
        """Send frames until the server closes; DATA stays within the connection's window."""
        with suppress(OSError):
            at = 0
            while at < len(frames):
                size = int.from_bytes(frames[at : at + 3]) + 9
                if frames[at + 3] == DATA:
                    deadline = time.monotonic() + 2
                    while self.window < size and time.monotonic() < deadline and not self.gone:
                        self.read(0.05)
                    self.window -= size - 9
                self.connection.sendall(frames[at : at + size])
                at += size

    def wait(self, streams: Iterable[int], seconds: float) -> None:
        """Read until these streams end, the server closes, or `seconds` pass."""
        pending, deadline = set(streams), time.monotonic() + seconds
        while pending - self.ended.keys() and not self.gone and time.monotonic() < deadline:
            self.read(0.1)

    def read(self, patience: float) -> None:
        """Receive and process frames, for at most `patience` seconds."""
        self.connection.settimeout(patience)
        try:
            data = self.connection.recv(262_144)
            self.gone = self.gone or not data
        except TimeoutError:
            return
        except OSError:
            self.gone = True
            return
        self.rest += data
        while len(self.rest) >= 9:
            size = int.from_bytes(self.rest[:3])
            if len(self.rest) < size + 9:
                return
            kind, flags = self.rest[3], self.rest[4]
            stream = int.from_bytes(self.rest[5:9]) & (2**31 - 1)
            payload, self.rest = self.rest[9 : size + 9], self.rest[size + 9 :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            self.statuses.setdefault(stream, _status(payload))
        if kind in {HEADERS, DATA} and flags & END_STREAM:
            self.ended[stream] = time.monotonic()
        if kind == RST_STREAM:
            self.reset.add(stream)
            self.ended[stream] = time.monotonic()
        if kind == GOAWAY:
            self.gone = True
        if kind == WINDOW_UPDATE and not stream:
            self.window += int.from_bytes(payload)
        if kind == SETTINGS and not flags & ACK:
            with suppress(OSError):
                self.connection.sendall(frame(SETTINGS, ACK, 0))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _status(payload: bytes) -> int:
    """Return the status at the start of nginx's header block: indexed, or three digits."""
    while payload and payload[0] & 0xE0 == 0x20:  # the table's new size
        payload = payload[1:] if payload[0] & 0x1F < 31 else payload[3:]
    known = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
    if payload[0] in known:
        return known[payload[0]]
    digits = payload[2:5]
    return int(digits) if digits.isdigit() else 0


def burst(server: Server, domain: str, paths: Sequence[str], seconds: float = 15) -> list[int]:
    """Request all paths at once over one connection, like a browser; return the statuses."""
    http2 = Http2.to(server, domain)
    streams = range(1, 2 * len(paths), 2)
    http2.send(
        b"".join(
            request(stream, pseudo("GET", path, domain))
            for stream, path in zip(streams, paths, strict=True)
        )
    )
    http2.wait(streams, seconds)
    http2.close()
    return [http2.statuses.get(stream, 0) for stream in streams]


@dataclass
class Flood:
    """The totals of a flood."""

    sent: int = 0
    connections: int = 0


@contextmanager
def flood(
    server: Server, domain: str, path: str, seconds: float, *, reset: bool = True
) -> Iterator[Flood]:
    """Send requests as fast as one HTTP/2 connection after the other allows, for at most `seconds`.
    With `reset`, each request is reset at once. All come from one address: one client."""
    totals, stop = Flood(), time.monotonic() + seconds

    def run() -> None:
        while time.monotonic() < stop:
            with suppress(OSError):
                _flood(server, domain, path, stop, totals, reset=reset)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield totals
    finally:
        stop = min(stop, time.monotonic())
        thread.join()


def _flood(
    server: Server, domain: str, path: str, stop: float, totals: Flood, *, reset: bool
) -> None:
    http2, stream = Http2.to(server, domain), 1
    totals.connections += 1
    with http2.connection:
        while time.monotonic() < stop and not http2.gone:
            frames = b""
            for _ in range(50):
                frames += request(stream, pseudo("GET", path, domain))
                frames += frame(RST_STREAM, 0, stream, struct.pack(">I", 8)) if reset else b""
                stream += 2
            http2.connection.settimeout(5)
            http2.connection.sendall(frames)
            totals.sent += 50
            http2.read(0.0005)


def refused(server: Server, domain: str) -> str:
    """Request a file that nginx itself answers with 404 until it limits the client; return the head
    of that response, or an empty text after 9,000 requests without a limit."""
    asked = f"GET /.none HTTP/1.1\r\nHost: {domain}\r\n\r\n".encode()
    for _ in range(10):
        with connect(server, domain, "http/1.1") as connection:
            answers = exchange(connection, [asked * 900], patience=0.5).split(b"\r\n\r\n")
        heads = (part[part.index(b"HTTP/1.1 ") :] for part in answers if b"HTTP/1.1 429" in part)
        if head := next(heads, b""):
            return head.decode()
    return ""
