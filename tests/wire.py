"""HTTP spoken byte by byte: what no client library would send."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.server import Server

TIMEOUT = 10  # seconds to connect
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX = 16_384  # bytes in a frame, unless agreed otherwise
Fields = Sequence[tuple[str | bytes, str | bytes]]


def connect(server: Server, domain: str, *protocols: str, tls: bool = True) -> socket.socket:
    """Return a connection to a server's nginx; `protocols` are offered by ALPN."""
    address = str(server.host.address)
    plain = socket.create_connection((address, 443 if tls else 80), TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return plain
    context = ssl.create_default_context(cafile=str(server.host.acme_root))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(plain, server_hostname=domain)


def exchange(connection: socket.socket, parts: Iterable[bytes], patience: float = 1.0) -> bytes:
    """Send parts, and return all that comes back until nothing has come for so long."""
    with suppress(OSError):
        for part in parts:
            connection.sendall(part)
    return received(connection, patience)


def received(connection: socket.socket, patience: float) -> bytes:
    """Return all that comes until nothing has come for so many seconds, or the end."""
    connection.settimeout(patience)
    found = b""
    with suppress(OSError):
        while part := connection.recv(65_536):
            found += part
    return found


def number(value: int, prefix: int, first: int = 0) -> bytes:
    """Encode an integer as HPACK does, behind the bits of `first` (RFC 7541, 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    value, encoded = value - most, [first | most]
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def text(value: str | bytes) -> bytes:
    """Encode a text as HPACK does, without Huffman's code."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    return number(len(raw), 7) + raw


def block(fields: Fields) -> bytes:
    """Encode header fields, each as a literal that is not indexed."""
    return b"".join(b"\x00" + text(name) + text(value) for name, value in fields)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream
    ) + payload  # fmt: skip


def pseudo(method: str, path: str, authority: str) -> list[tuple[str | bytes, str | bytes]]:
    """Return the fields that each request begins with."""
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
    """A connection, and what came over it."""

    connection: socket.socket
    statuses: dict[int, int] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    reset: set[int] = field(default_factory=set)
    gone: bool = False
    rest: bytes = b""
    window: int = 65_535

    @classmethod
    def to(cls, server: Server, domain: str) -> Http2:
        """Connect, and agree on the least."""
        connection = connect(server, domain, "h2")
        # Windows so large that no answer of a test waits for one.
        settings = struct.pack(">HI", 4, 2**31 - 1)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        connection.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535)))
        return cls(connection)

    def send(self, frames: bytes) -> None:
        """Send frames, as far as the server takes them; its windows are kept to for DATA."""
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
        """Read until these streams have ended, the server has gone, or the time is over."""
        wanted, deadline = set(streams), time.monotonic() + seconds
        while wanted - self.ended.keys() and not self.gone and time.monotonic() < deadline:
            self.read(0.1)

    def read(self, patience: float) -> None:
        """Take in what has come."""
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
    """Return the status that nginx's header block begins with: indexed, or three plain digits."""
    while payload and payload[0] & 0xE0 == 0x20:  # the table's new size
        payload = payload[1:] if payload[0] & 0x1F < 31 else payload[3:]
    known = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
    if payload[0] in known:
        return known[payload[0]]
    digits = payload[2:5]
    return int(digits) if digits.isdigit() else 0
