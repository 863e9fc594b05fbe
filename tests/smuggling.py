"""Request smuggling: requests that nginx and the app could parse differently, HTTP/1.1 and HTTP/2.

Each case is sent over its own connection. Only the outer request may reach the app, or none, and
with the headers that nginx sets: the client's real address and nginx's own request ID. A request
hidden in another one must never arrive.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests import wire
from tests.lab_server import Server

FORGED = "6.6.6.6"
FORGED_ID = "forged-by-the-client"
# More than nginx buffers in memory: it spools the body to a file and sends it in several parts.
PADDING = b"\r\n" * 131_072


@dataclass(frozen=True)
class Case:
    """A request, and which parts of it may reach the app."""

    name: str
    parts: Callable[[str, str], list[bytes]]
    """Returns the bytes to send, for a domain and the case's own path."""
    version: int = 1
    meant: tuple[str, ...] = ("outer",)
    """Suffixes of the paths that may reach the app, each once."""
    whole: bool = False
    """Whether the first request's body must arrive at full length, if it arrives."""


@dataclass
class Outcome:
    """The result of a case."""

    case: Case
    answer: bytes | dict[int, int]
    reached: list[dict[str, Any]]
    wrong: str = ""


def inner(domain: str, path: str) -> bytes:
    """Return the hidden request."""
    return (
        f"GET {path}/inner HTTP/1.1\r\nHost: {domain}\r\nX-Forwarded-For: {FORGED}\r\n"
        f"X-Real-IP: {FORGED}\r\nX-Request-ID: {FORGED_ID}\r\n\r\n"
    ).encode()


def outer(
    domain: str, path: str, *headers: str | bytes, method: str = "POST", version: str = "HTTP/1.1"
) -> bytes:
    """Return the head of the outer request."""
    lines = [f"{method} {path}/outer {version}", f"Host: {domain}", *headers]
    raw = (line if isinstance(line, bytes) else line.encode("latin-1") for line in lines)
    return b"\r\n".join(raw) + b"\r\n\r\n"


def h1(
    name: str,
    *headers: str | bytes,
    body: Callable[[bytes], bytes] = bytes,
    method: str = "POST",
    version: str = "HTTP/1.1",
    meant: tuple[str, ...] = ("outer",),
    whole: bool = False,
) -> Case:
    """Return a case with these headers; {N} in them is the hidden request's length.

    `whole`: whether the body must arrive in full, as the body.
    """

    def parts(domain: str, path: str) -> list[bytes]:
        hidden = body(inner(domain, path))
        size = str(len(hidden)).encode()
        raw = [h.encode("latin-1") if isinstance(h, str) else h for h in headers]
        filled = [header.replace(b"{N}", size) for header in raw]
        return [outer(domain, path, *filled, method=method, version=version), hidden]

    return Case(name, parts, meant=meant, whole=whole)


def _behind(name: str) -> tuple[str, ...]:
    """Return the requests that may arrive if a header has this name.

    nginx does not take an unknown header for the length of a body, so the hidden request is the
    next one on the connection: it arrives with the real address and its own ID.
    """
    unknown = {"Content_Length", '"Content-Length"', "Cont\xe9nt-Length"}
    unknown |= {"Transfer_Encoding", "Tr\xe4nsfer-Encoding"}
    return ("outer", "inner") if name in unknown else ("outer",)


def chunked(hidden: bytes) -> bytes:
    """Return an empty chunked body, then the hidden request."""
    return b"0\r\n\r\n" + hidden


def one_chunk(hidden: bytes) -> bytes:
    """Return a chunked body that is the hidden request."""
    return f"{len(hidden):x}\r\n".encode() + hidden + b"\r\n0\r\n\r\n"


def padded(hidden: bytes) -> bytes:
    """Return padding, then the hidden request: it arrives later than the headers."""
    return PADDING + hidden


def upgrades() -> Iterator[Case]:
    """An app server that ends a request at `Upgrade` reads its body as the next request."""
    values = [
        "h2c", "websocket", "WebSocket", "websocket, h2c", "h2c, websocket", "TLS/1.0", "foo",
        "HTTP/2.0", " ", "websocket\t", "%00", "websocket/13",
    ]  # fmt: skip
    for value, method in itertools.product(values, ("POST", "GET")):
        yield h1(
            f"upgrade {value!r} {method}",
            f"Upgrade: {value}", "Connection: Upgrade", "Content-Length: {N}",
            body=padded, method=method, whole=True,
        )  # fmt: skip
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"):
        yield h1(
            f"upgrade h2c {method}",
            "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQ",
            "Content-Length: {N}", body=padded, method=method, whole=True,
        )  # fmt: skip
    for connection in ("close", "keep-alive", "upgrade, close", "Upgrade\r\nConnection: close"):
        yield h1(
            f"upgrade h2c connection {connection!r}",
            "Upgrade: h2c", f"Connection: {connection}", "Content-Length: {N}", body=padded,
            whole=True,
        )  # fmt: skip
    yield h1(
        "upgrade h2c chunked", "Upgrade: h2c", "Connection: Upgrade",
        "Transfer-Encoding: chunked", body=lambda hidden: one_chunk(PADDING + hidden), whole=True,
    )  # fmt: skip
    yield h1(
        "upgrade websocket chunked GET", "Upgrade: websocket", "Connection: Upgrade",
        "Transfer-Encoding: chunked", method="GET",
        body=lambda hidden: one_chunk(PADDING + hidden), whole=True,
    )  # fmt: skip
    yield h1(
        "upgrade twice", "Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade",
        "Content-Length: {N}", body=padded, whole=True,
    )  # fmt: skip
    yield h1(
        "upgrade 1.0", "Upgrade: h2c", "Connection: Upgrade", "Content-Length: {N}",
        body=padded, version="HTTP/1.0", whole=True,
    )  # fmt: skip
    yield h1("expect", "Expect: 100-continue", "Upgrade: h2c", "Content-Length: {N}", body=padded,
             whole=True)  # fmt: skip


def lengths() -> Iterator[Case]:
    """Content-Length with Transfer-Encoding, repeated, or malformed."""
    both = [
        ("Content-Length: {N}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: {N}"),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Content-Length: {N}", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Content-Length: {N}", "Transfer-Encoding: identity"),
    ]
    for headers in both:
        yield h1(f"both {headers}", *headers, body=chunked)
    for value in (
        "+{N}", "-1", "0x10", "{N}, {N}", "{N},0", "0,{N}", " {N}", "{N} ", "{N}\t", "\t{N}",
        "1e2", "{N};", "{N}.0", "{N} 0", "''", "", "99999999999999999999", "00{N}", "1_0", "{N}L",
        "\x0b{N}", "\x0c{N}", "{N}\x00", "\xa0{N}", "(1){N}",
    ):  # fmt: skip
        yield h1(f"length {value!r}", f"Content-Length: {value}")
    for pair in (("0", "{N}"), ("{N}", "0"), ("{N}", "{N}"), ("5", "6")):
        yield h1(f"lengths {pair}", *(f"Content-Length: {value}" for value in pair))
    for name in (
        "Content-Length ", " Content-Length", "Content-Length\t", "Content_Length",
        "Content-Length\x00", "Content-Length\x0b", "Content-Length:", "content-length",
        "Content\rLength", "Content-Length\r", "Cont\xe9nt-Length", '"Content-Length"',
    ):  # fmt: skip
        yield h1(f"length's name {name!r}", f"{name}: {{N}}", meant=_behind(name))
    yield h1("GET with a body", "Content-Length: {N}", method="GET")
    yield h1("HEAD with a body", "Content-Length: {N}", method="HEAD")


def codings() -> Iterator[Case]:
    """Transfer-Encoding in forms that one of two servers may ignore."""
    for value in (
        "chunked", "Chunked", "CHUNKED", "xchunked", "chunkedx", " chunked", "chunked ",
        "\tchunked", "chunked\t", "\x0bchunked", "chunked\x0b", "\x00chunked", "chunked\x00",
        "chunked, identity", "identity, chunked", "gzip, chunked", "chunked, chunked", "chunked,",
        ",chunked", "chunked;", "chunked;q=1", '"chunked"', "'chunked'", "chunk", "identity",
        "cow", "", "chunked\r\n identity", "\r\n chunked", "identity\r\n\tchunked",
        "chu\xadnked", "c\x68unked\xa0", "deflate", "compress, chunked", "trailers, chunked",
    ):  # fmt: skip
        yield h1(f"coding {value!r}", f"Transfer-Encoding: {value}", "Content-Length: 5",
                 body=chunked)  # fmt: skip
    for name in (
        "Transfer-Encoding ", " Transfer-Encoding", "Transfer-Encoding\t", "Transfer_Encoding",
        "Transfer-Encoding\x00", "Transfer-Encoding\x0b", "Transfer-Encoding:", "TRANSFER-ENCODING",
        "X: x\nTransfer-Encoding", "X: x\rTransfer-Encoding", "Transfer-\r\n Encoding",
        "\x00Transfer-Encoding", "Transfer Encoding", "Tr\xe4nsfer-Encoding",
    ):  # fmt: skip
        yield h1(f"coding's name {name!r}", f"{name}: chunked", "Content-Length: 5", body=chunked,
                 meant=_behind(name))  # fmt: skip
        yield h1(f"coding's name alone {name!r}", f"{name}: chunked", body=one_chunk)
    yield h1("coding twice", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
             body=one_chunk)  # fmt: skip
    yield h1("coding 1.0", "Transfer-Encoding: chunked", body=one_chunk, version="HTTP/1.0")
    yield h1("coding TE", "TE: chunked", "Content-Length: {N}")


def chunks() -> Iterator[Case]:
    """Chunked bodies whose end parsers may disagree on."""
    bodies: dict[str, Callable[[bytes], bytes]] = {
        "whole": one_chunk,
        "an extension": lambda i: f"{len(i):x};a=b\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a quoted extension": lambda i: (
            f'{len(i):x};a="b\r\n0\r\n\r\n"\r\n'.encode() + i + b"\r\n0\r\n\r\n"
        ),
        "an extension with LF": lambda i: (
            f"{len(i):x};a\nxx\r\n".encode() + i + b"\r\n0\r\n\r\n"
        ),
        "an extension with CR": lambda i: (
            f"{len(i):x};a\rb\r\n".encode() + i + b"\r\n0\r\n\r\n"
        ),
        "a large extension": lambda i: (
            f"{len(i):x};{'a' * 20_000}\r\n".encode() + i + b"\r\n0\r\n\r\n"
        ),
        "a bare LF": lambda i: f"{len(i):x}\n".encode() + i + b"\n0\n\n",
        "a bare CR": lambda i: f"{len(i):x}\r".encode() + i + b"\r0\r\r",
        "a space before": lambda i: f" {len(i):x}\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a space behind": lambda i: f"{len(i):x} \r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a tab behind": lambda i: f"{len(i):x}\t\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "0x": lambda i: f"0x{len(i):x}\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a sign": lambda i: f"+{len(i):x}\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a negative size": lambda i: b"-1\r\n" + i + b"\r\n0\r\n\r\n",
        "leading zeros": lambda i: f"{'0' * 40}{len(i):x}\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a size of 64 bits": lambda i: b"ffffffffffffffff\r\n" + i,
        "a size of 65 bits": lambda i: f"1{len(i):016x}\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "a size of 32 bits": lambda i: f"1{len(i):08x}\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "no size": lambda i: b"\r\n" + i + b"\r\n0\r\n\r\n",
        "letters": lambda i: b"G\r\n" + i + b"\r\n0\r\n\r\n",
        "an underscore": lambda i: b"1_0\r\n" + i + b"\r\n0\r\n\r\n",
        "no end of data": lambda i: f"{len(i):x}\r\n".encode() + i + b"0\r\n\r\n",
        "something behind the data": lambda i: (
            f"{len(i):x}\r\n".encode() + i + b"xx\r\n0\r\n\r\n"
        ),
        "a NUL": lambda i: f"{len(i):x}\x00\r\n".encode() + i + b"\r\n0\r\n\r\n",
        "trailers": lambda _: b"0\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 9\r\n\r\n",
        "a trailer that never ends": lambda _: b"0\r\nX: " + b"x" * 20_000,
        "a last chunk of 00": lambda _: b"00\r\n\r\n",
        "a last chunk with an extension": lambda _: b"0;a=b\r\n\r\n",
        "one byte a chunk": lambda i: (
            b"".join(b"1\r\n" + bytes([c]) + b"\r\n" for c in i) + b"0\r\n\r\n"
        ),
    }  # fmt: skip
    for name, body in bodies.items():
        yield h1(f"chunks: {name}", "Transfer-Encoding: chunked", body=body)


def lines() -> Iterator[Case]:
    """Request lines and headers with unusual line ends, folding or repetition."""

    def odd(name: str, raw: str) -> Case:
        def parts(domain: str, path: str) -> list[bytes]:
            hidden = inner(domain, path)
            filled = (
                raw.replace("{D}", domain).replace("{P}", path).replace("{N}", str(len(hidden)))
            )
            return [filled.encode("latin-1"), hidden]

        return Case(f"line: {name}", parts)

    post, host, size = "POST {P}/outer HTTP/1.1\r\n", "Host: {D}\r\n", "Content-Length: {N}\r\n"
    first, end = post + host, size + "\r\n"
    bare = "POST {P}/outer HTTP/1.1\nHost: {D}\nContent-Length: {N}\n\n"
    path = "{P}/outer%20HTTP/1.1%0d%0a%0d%0aGET%20{P}/inner"
    hops = "Connection: close, X-Forwarded-For, X-Real-IP, Host\r\n"
    forged = f"X-Forwarded-For: {FORGED}\r\nX-Real-IP: {FORGED}\r\nForwarded: for={FORGED}\r\n"
    heads = {
        "a bare LF ends headers": bare,
        "LF CR LF": first + "X: x\n\r\n" + end,
        "a folded header": first + "X: x\r\n y\r\n" + end,
        "a folded length": first + "Content-Length:\r\n {N}\r\n\r\n",
        "a folded first header": post + " X: x\r\n" + host + end,
        "a header without a colon": first + "Nothing\r\n" + end,
        "an empty name": first + ": x\r\n" + end,
        "a NUL in a value": first + "X: a\x00b\r\n" + end,
        "a CR in a value": first + "X: a\rContent-Length: 0\r\n" + end,
        "two hosts": first + "Host: other\r\n" + end,
        "a host with a port": post + "Host: {D}:443\r\n" + end,
        "a host with an at": post + "Host: {D}@other\r\n" + end,
        "a host with a slash": post + "Host: {D}/x\r\n" + end,
        "an absolute URI": "POST https://{D}{P}/outer HTTP/1.1\r\n" + host + end,
        "an absolute URI elsewhere": "POST https://other{P}/outer HTTP/1.1\r\n" + host + end,
        "two spaces": "POST  {P}/outer HTTP/1.1\r\n" + host + end,
        "a tab": "POST\t{P}/outer\tHTTP/1.1\r\n" + host + end,
        "a space at the end": "POST {P}/outer HTTP/1.1 \r\n" + host + end,
        "HTTP/1.2": "POST {P}/outer HTTP/1.2\r\n" + host + end,
        "HTTP/0.9": "GET {P}/outer\r\n",
        "HTTP/2.0": "POST {P}/outer HTTP/2.0\r\n" + host + end,
        "a lower-case method": "post {P}/outer HTTP/1.1\r\n" + host + end,
        "CRLF before the method": "\r\n\r\n" + first + end,
        "CRLF in the path, encoded": "POST {P}/outer%0d%0aX:%20y HTTP/1.1\r\n" + host + end,
        "a request line in the path, encoded": f"POST {path} HTTP/1.1\r\n" + host + end,
        "underscores": first + f"X_Forwarded_For: {FORGED}\r\n" + end,
        "hop by hop": first + hops + end,
        "all that is forged": first + forged + f"X-Request-ID: {FORGED_ID}\r\n" + end,
    }
    for name, head in heads.items():
        yield odd(name, head)


def http1() -> list[Case]:
    """Return all cases of HTTP/1.1."""
    kinds = (upgrades, lengths, codings, chunks, lines)
    return [case for kind in kinds for case in kind()]


def h2(
    name: str,
    *fields: tuple[str | bytes, str | bytes],
    method: str = "POST",
    body: Callable[[bytes], bytes] | None = bytes,
    path: str = "{P}/outer",
    replace: dict[str, str] | None = None,
    last: tuple[tuple[str, str], ...] = (),
    whole: bool = False,
) -> Case:
    """Return an HTTP/2 case: fields beside the pseudo-headers, and a body with a request."""

    def parts(domain: str, own: str) -> list[bytes]:
        hidden = inner(domain, own)

        def filled(value: str | bytes) -> bytes:
            raw = value.encode("latin-1") if isinstance(value, str) else value
            raw = raw.replace(b"{P}", own.encode()).replace(b"{D}", domain.encode())
            return raw.replace(b"{N}", str(len(hidden)).encode()).replace(b"{I}", hidden)

        first = [
            (key, (replace or {}).get(str(key), value))
            for key, value in wire.pseudo(method, path, "{D}")
        ]
        all_ = [(filled(key), filled(value)) for key, value in (*first, *fields, *last)]
        sent = None if body is None else body(hidden)
        return [wire.request(1, all_, sent)]

    return Case(name, parts, version=2, whole=whole)


def http2() -> list[Case]:
    """Return all cases of HTTP/2."""
    split = "x\r\n\r\n{I}"
    cases = [
        *(h2(f"upgrade {v!r} {m}", ("upgrade", v), method=m, body=padded, whole=True)
          for v in ("h2c", "websocket") for m in ("POST", "GET")),
        *(h2(f"upgrade {v!r}, connection", ("upgrade", v), ("connection", "upgrade"), body=padded,
             whole=True)
          for v in ("h2c", "websocket")),
        h2("length 0", ("content-length", "0")),
        h2("length too small", ("content-length", "5")),
        h2("length too large", ("content-length", "5000")),
        h2("lengths", ("content-length", "0"), ("content-length", "{N}")),
        h2("length with a sign", ("content-length", "+{N}")),
        h2("length, no body", ("content-length", "{N}"), body=None),
        *(h2(f"coding {v!r}", ("transfer-encoding", v), body=chunked)
          for v in ("chunked", "identity", "chunked, identity", " chunked")),
        h2("coding and length", ("transfer-encoding", "chunked"), ("content-length", "5"),
           body=chunked),
        h2("CRLF in a value", ("x", split)),
        h2("LF in a value", ("x", "x\n\n{I}")),
        h2("CR in a value", ("x", "x\r\r{I}")),
        h2("NUL in a value", ("x", "x\x00{I}")),
        h2("CRLF in a name", ("x: y\r\n\r\n{I}", "z")),
        h2("a colon in a name", ("transfer-encoding: chunked\r\nx", "z"), body=chunked),
        h2("a space in a name", ("transfer-encoding ", "chunked"), body=chunked),
        h2("an upper-case name", ("Transfer-Encoding", "chunked"), body=chunked),
        h2("an empty name", ("", "x")),
        h2("CRLF in the path", path="{P}/outer HTTP/1.1\r\n\r\n{I}"),
        h2("a space in the path", path="{P}/outer HTTP/1.1"),
        h2("a path without a slash", path="outer"),
        h2("an empty path", path=""),
        h2("CRLF in the method", replace={":method": "GET {P}/inner HTTP/1.1\r\n\r\nPOST"}),
        h2("a space in the method", replace={":method": "GET {P}/inner HTTP/1.1"}),
        h2("CRLF in the authority", replace={":authority": "{D}\r\n\r\n{I}"}),
        h2("a host beside the authority", ("host", "other")),
        h2("CRLF in the host", ("host", "{D}\r\nx: y")),
        h2("CRLF in the scheme", replace={":scheme": "https\r\n\r\n{I}"}),
        h2("two paths", (":path", "{P}/inner")),
        h2("two methods", (":method", "GET")),
        h2("a pseudo-header at the end", ("x", "y"), last=((":path", "{P}/inner"),)),
        h2("an unknown pseudo-header", (":protocol", "websocket"), method="CONNECT"),
        h2("connection", ("connection", "close"), ("keep-alive", "1")),
        h2("te", ("te", "chunked")),
        h2("all that is forged", ("x-forwarded-for", FORGED), ("x-real-ip", FORGED),
           ("forwarded", f"for={FORGED}"), ("x-request-id", FORGED_ID)),
    ]  # fmt: skip
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    return cases


FOUND = [
    case
    for case in [*http1(), *http2()]
    if case.name
    in {
        "upgrade 'h2c' POST", "upgrade 'h2c' GET", "upgrade 'websocket' POST",
        "upgrade 'websocket' GET", "upgrade h2c chunked", "upgrade twice", "upgrade 1.0", "expect",
        "length '+{N}'", "coding 'chunked\\x0b'", "coding's name 'Transfer-Encoding '",
        "chunks: a bare LF", "chunks: an extension with LF", "line: a folded length",
        "line: all that is forged", "upgrade 'h2c', connection", "CRLF in a value",
        "coding 'chunked'", "all that is forged",
    }
]  # fmt: skip
"""The vulnerability that was found, and a few cases of each kind: for every run."""


def attack(server: Server, domain: str, cases: list[Case], times: int = 1) -> list[Outcome]:
    """Send cases, several at once; return the result of each."""
    run = f"/case-{time.time_ns():x}"
    numbered = list(enumerate(case for case in cases for _ in range(times)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda c: _send(server, domain, c[1], f"{run}-{c[0]}"), numbered))
    time.sleep(0.5)
    reached = server.request("GET", "/reached", domain=domain).json()["reached"]
    log = server.run("cat /var/log/nginx/*.access.log*; true")
    own = wire.own_address(server)
    outcomes = []
    for (index, case), answer in zip(numbered, answers, strict=True):
        path = f"{run}-{index}"
        there = [r for r in reached if r["path"].startswith(f"{path}/")]
        outcome = Outcome(case, answer, there)
        outcome.wrong = _wrong(case, there, path, own, log)
        outcomes.append(outcome)
    strange = [r for r in reached if run in str(r) and not r["path"].startswith(run)]
    assert not strange, strange
    return outcomes


def _send(server: Server, domain: str, case: Case, path: str) -> bytes | dict[int, int]:
    parts = case.parts(domain, path)
    if case.version == 1:
        with wire.connect(server, domain, "http/1.1") as connection:
            return wire.exchange(connection, parts, 1.0)[:300]
    http2 = wire.Http2.to(server, domain)
    for part in parts:
        http2.send(part)
    http2.wait([1], 1.5)
    http2.close()
    return http2.statuses


def _wrong(case: Case, reached: list[dict[str, Any]], path: str, own: str, log: str) -> str:
    """Return what is wrong with the requests that reached the app, or an empty text."""
    allowed = [f"{path}/{end}" for end in case.meant]
    for request in reached:
        # An encoded path is text: it is still one request.
        if not any(request["path"].startswith(meant) for meant in allowed):
            return f"{request['path']} reached the app"
        headers = request["headers"]
        for name in ("x-forwarded-for", "x-real-ip"):
            if headers.get(name) != own:
                return f"{name} is {headers.get(name)!r}, not {own}"
        if request["client"] != own:
            return f"the app takes the client for {request['client']}"
        if f" {headers.get('x-request-id')} " not in log:
            return f"nginx knows no request {headers.get('x-request-id')!r}"
        if "forwarded" in headers or "x_forwarded_for" in headers:
            return "a forged header reached the app"
    if len(reached) > len(allowed):
        return f"{len(reached)} requests reached the app"
    # The body holds the hidden request, which is longer than a path and two headers.
    if case.whole and reached and reached[0]["length"] < len(PADDING):
        return f"the app got {reached[0]['length']} bytes of the body"
    return ""
