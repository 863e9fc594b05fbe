"""Asking a release, over a real socket."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onebox_release.host import health

Serve = Callable[[bytes], list[bytes]]
ANSWER = b"HTTP/1.1 %s\r\nx-release: a-1\r\nContent-Length: 4\r\n\r\nbody"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.sock"


@pytest.fixture
def serve(path: Path) -> Iterator[Serve]:
    """Answer one request with given bytes, and keep what was asked."""
    asked: list[bytes] = []
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def once(answer: bytes) -> None:
            with listening.accept()[0] as accepted:
                asked.append(accepted.recv(4096))
                accepted.sendall(answer)

        def start(answer: bytes) -> list[bytes]:
            threads.append(threading.Thread(target=once, args=(answer,), daemon=True))
            threads[-1].start()
            return asked

        yield start
        for thread in threads:
            thread.join(2)


def ask(path: Path, patience: float = 5) -> health.Answer:
    return health.ask(health.UnixConnection(path, "links.test", patience), "/health")


def test_a_release_says_its_status_and_name(path: Path, serve: Serve) -> None:
    asked = serve(ANSWER % b"200 OK")
    assert ask(path) == health.Answer(200, "a-1", "body")
    head = asked[0].decode()
    assert head.startswith("GET /health HTTP/1.1\r\nHost: links.test\r\n")
    assert "X-Forwarded-Proto: https\r\n" in head


def test_an_answer_reads_as_a_sentence(path: Path, serve: Serve) -> None:
    serve(ANSWER % b"503 Service Unavailable")
    assert str(ask(path)) == "503 Service Unavailable: body"
    assert str(health.Answer(599, None, "")) == "599 :"


@pytest.mark.parametrize("answer", [b"", b"rubbish\r\n\r\n"])
def test_no_answer_is_an_error_that_is_expected(path: Path, serve: Serve, answer: bytes) -> None:
    serve(answer)
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(path)


def test_nobody_listening_is_one_too(path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        ask(path)


def test_a_release_that_keeps_silent_is_given_up(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with pytest.raises(TimeoutError):
            ask(path, patience=0.1)


def test_nginx_is_asked_on_the_loopback_by_the_domains_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def connect(address: tuple[str, int], patience: float, source: object) -> None:
        assert source is None
        asked.append((*address, patience))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    for kind in (health.NginxConnection, health.NginxPlainConnection):
        with pytest.raises(ConnectionRefusedError):
            health.ask(kind("links.test"), "/health")
    assert asked == [("127.0.0.1", 443, 5), ("127.0.0.1", 80, 5)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "No such file"), "the release's socket /run/x/web.sock is missing"),
        (ConnectionRefusedError(), "the release does not listen on socket /run/x/web.sock"),
        (TimeoutError(), "the release did not answer within 5 s"),
        (ConnectionResetError(), "the release closed the connection without an answer"),
        (
            PermissionError(13),
            "the request to the release on socket /run/x/web.sock failed: PermissionError: 13",
        ),
    ],
)
def test_no_answer_is_described_without_python(error: Exception, told: str) -> None:
    connection = health.UnixConnection(Path("/run/x/web.sock"), "links.test", 5)
    assert health.unanswered(connection, error) == told


def test_no_answer_of_nginx_is_described_by_its_port() -> None:
    connection = health.NginxConnection("links.test")
    told = health.unanswered(connection, ConnectionRefusedError())
    assert told == "nginx does not listen on port 443 of 127.0.0.1"


def test_an_answer_that_never_ends_is_given_up(path: Path) -> None:
    """Each byte comes in time, the whole never does."""

    def drip() -> None:
        with listening.accept()[0] as accepted, contextlib.suppress(OSError):
            accepted.recv(4096)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while True:
                accepted.sendall(b"x")
                time.sleep(0.05)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=drip, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(path, 0.5)
        assert time.monotonic() - begun < 3


def test_an_answer_has_nothing_that_a_terminal_obeys(path: Path, serve: Serve) -> None:
    serve(b"HTTP/1.1 200 OK\r\nx-release: a\x1b[2J\r\nContent-Length: 4\r\n\r\n\x1b[2J")
    answer = ask(path)
    assert (answer.release, answer.body) == ("a\\x1b[2J", "\\x1b[2J")


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        b"A: b\rContent-Type: message/rfc822\r\r" * 1500,
    ],
)
def test_what_is_no_http_is_no_answer(path: Path, serve: Serve, head: bytes) -> None:
    serve(b"HTTP/1.1 200 OK\r\nx-release: r\r\n" + head + b"\r\n\r\n")
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(path)


def test_a_certificate_that_is_not_trusted_is_called_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is a ValueError, too, as those of what is no HTTP."""

    def refuse(_: object) -> None:
        raise ssl.SSLCertVerificationError("self-signed certificate")

    monkeypatch.setattr(health.UnixConnection, "connect", refuse)
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        ask(path)
