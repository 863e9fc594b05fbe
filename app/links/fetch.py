"""Asks for pages on the internet, and on nothing else.

A URL is what a stranger typed: it must not make this server talk to its own network, whether the
name leads there at once, at the second look (DNS rebinding), or after a redirect. So each
connection is made to an address that was looked at, never to a name; redirects are followed here.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from urllib.parse import urljoin

import httpcore
from pydantic import TypeAdapter

from links.schemas import Target

SECONDS = 10  # for all redirects together
HOPS = 5
PORTS = {80, 443}  # others are seldom a web page's, and often something that a text can command

# Of special use, and global for Python before 3.11.10, which Debian 12 has.
PROTOCOLS4 = ip_network("192.0.0.0/24")
INTERNET6 = ip_network("2000::/3")  # all that is handed out; not NAT64's, for one
TUNNEL_6TO4 = ip_network("2002::/16")  # names an IPv4 address, which may be anyone's

HEADERS = [("User-Agent", "links"), ("Accept", "*/*"), ("Connection", "close")]

_trusted = ssl.create_default_context()
_target: TypeAdapter[Target] = TypeAdapter(Target)


class FetchError(Exception):
    """Why a page can't be had, in words for the owner of the link."""


class RefusedError(FetchError):
    """The address isn't one on the internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is one on the internet."""
    ip = ip_address(address)
    if ip.version == 6:
        return ip.is_global and ip in INTERNET6 and ip not in TUNNEL_6TO4
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip not in PROTOCOLS4


class PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects to public addresses and to no name, socket or port besides."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host if all of them are public."""
        if port not in PORTS:
            raise RefusedError("only ports 80 and 443 are asked")
        addresses = await _addresses(host, port)
        if not all(map(is_public, addresses)):
            raise RefusedError("not on the internet")
        return await self._backend.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )

    async def connect_unix_socket(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        """Refuse."""
        raise RefusedError("not on the internet")


async def status_of(url: str, backend: httpcore.AsyncNetworkBackend | None = None) -> int:
    """The status that a GET of the URL ends with, after redirects. Bodies are not read.

    Raises:
        FetchError: there was none.
    """
    try:
        async with (
            asyncio.timeout(SECONDS),
            httpcore.AsyncConnectionPool(
                ssl_context=_trusted, network_backend=backend or PublicOnly()
            ) as pool,
        ):
            return await _follow(pool, _absolute(url, ""))
    except TimeoutError:
        raise FetchError(f"no answer within {SECONDS} s") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError):
        raise FetchError("no answer") from None


async def _follow(pool: httpcore.AsyncConnectionPool, url: str) -> int:
    for _ in range(HOPS + 1):
        async with pool.stream("GET", url, headers=HEADERS) as response:
            location = _location(response)
        if location is None:
            return response.status
        url = _absolute(url, location)
    raise FetchError(f"more than {HOPS} redirects")


def _absolute(base: str, location: str) -> str:
    try:
        return str(_target.validate_python(urljoin(base, location)))
    except ValueError:
        raise RefusedError("redirects to no http or https address") from None


def _location(response: httpcore.Response) -> str | None:
    if not 300 <= response.status < 400:
        return None
    found = (text for key, text in response.headers if key.lower() == b"location")
    return next((text.decode("latin-1") for text in found), None)


async def _addresses(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError("its name is unknown") from None
    return [str(address[0]) for *_, address in found]
