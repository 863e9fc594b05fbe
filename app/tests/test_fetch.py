"""What is fetched from the internet, and that nothing else is."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from links import fetch
from links.fetch import HOPS, FetchError, PublicOnly, RefusedError, is_public, status_of

PUBLIC = "93.184.215.14"

INTERNAL = [
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]

Names = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Make names lead to addresses: to the next of them at each look."""
    known: dict[str, list[list[str]]] = {}

    async def look(_: object, host: str, port: int, **__: object) -> list[tuple[Any, ...]]:
        if host not in known:
            raise socket.gaierror
        found = known[host]
        addresses = found.pop(0) if len(found) > 1 else found[0]
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", look)
    return lambda name, *looks: known.update({name: [list(look) for look in looks]})


class Net(httpcore.AnyIOBackend):
    """Answers from memory, and remembers which addresses were asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, local_address, socket_options
        self.asked.append((host, port))
        return httpcore.AsyncMockStream([self.answers.pop(0)])


def fetched(url: str, *answers: bytes) -> tuple[int, list[tuple[str, int]]]:
    backend = PublicOnly()
    net = Net(*answers)
    backend._backend = net
    return asyncio.run(status_of(url, backend)), net.asked


def refused(url: str, *answers: bytes) -> str:
    with pytest.raises(FetchError) as caught:
        fetched(url, *answers)
    return str(caught.value)


OK = b"HTTP/1.1 200 OK\r\n\r\n"


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode()


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_no_address_in_disguise_is_public(address: object) -> None:
    for prefix in ("::ffff:", "::", "64:ff9b::"):
        assert not is_public(f"{prefix}{address}")


def test_a_page_is_asked_for_at_the_address_that_was_looked_at(names: Names) -> None:
    names("a.example", [PUBLIC])
    assert fetched("http://a.example/", OK) == (200, [(PUBLIC, 80)])


@pytest.mark.parametrize("address", INTERNAL)
def test_a_name_of_an_internal_address_is_refused(names: Names, address: str) -> None:
    names("a.example", [address])
    assert refused("http://a.example/") == "not on the internet"


def test_a_name_with_an_internal_address_among_others_is_refused(names: Names) -> None:
    names("a.example", [PUBLIC, "10.0.0.1"])
    assert refused("http://a.example/") == "not on the internet"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
        "[::1]",
        "0",
        "①27.0.0.1",
    ],
)
def test_an_internal_address_however_spelt_is_refused(host: str) -> None:
    with pytest.raises(FetchError):
        asyncio.run(status_of(f"http://{host}/"))


def test_rebinding_is_of_no_use(names: Names) -> None:
    names("a.example", [PUBLIC], ["127.0.0.1"])
    assert fetched("http://a.example/", OK)[1] == [(PUBLIC, 80)]
    names("a.example", [PUBLIC], ["127.0.0.1"])
    assert refused("http://a.example/", moved("http://a.example/b")) == "not on the internet"


def test_redirects_are_followed(names: Names) -> None:
    names("a.example", [PUBLIC])
    names("b.example", ["8.8.8.8"])
    status, asked = fetched("http://a.example/", moved("/c"), moved("//b.example/"), OK)
    assert status == 200
    assert asked == [(PUBLIC, 80), (PUBLIC, 80), ("8.8.8.8", 80)]


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://b.example/", "not on the internet"),
        ("http://169.254.169.254/latest/meta-data", "not on the internet"),
        ("http://a.example:5432/", "only ports 80 and 443 are asked"),
        ("file:///etc/passwd", "redirects to no http or https address"),
        ("ftp://a.example/", "redirects to no http or https address"),
        ("http://[", "redirects to no http or https address"),
        ("http://nowhere.example/", "its name is unknown"),
        (f"http://{'a' * 300}.example/", "its name is unknown"),
    ],
)
def test_a_redirect_can_go_wrong(names: Names, to: str, why: str) -> None:
    names("a.example", [PUBLIC])
    names("b.example", ["10.0.0.1"])
    names("169.254.169.254", ["169.254.169.254"])
    assert refused("http://a.example/", moved(to)) == why


def test_redirects_end(names: Names) -> None:
    names("a.example", [PUBLIC])
    answers = [moved("/")] * (HOPS + 1)
    assert refused("http://a.example/", *answers) == f"more than {HOPS} redirects"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 " + b"a" * 200_000])
def test_what_is_no_http_is_no_answer(names: Names, answer: bytes) -> None:
    names("a.example", [PUBLIC])
    assert refused("http://a.example/", answer) == "no answer"


def test_it_does_not_take_for_ever(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> httpcore.AsyncNetworkStream:
        await asyncio.sleep(60)
        raise AssertionError

    names("a.example", [PUBLIC])
    monkeypatch.setattr(fetch, "SECONDS", 0.1)
    backend = PublicOnly()
    monkeypatch.setattr(backend._backend, "connect_tcp", never)
    with pytest.raises(FetchError, match=r"no answer within 0\.1 s"):
        asyncio.run(status_of("http://a.example/", backend))


def test_no_unix_socket_is_opened() -> None:
    with pytest.raises(RefusedError):
        asyncio.run(PublicOnly().connect_unix_socket("/run/postgresql/.s.PGSQL.5432"))
