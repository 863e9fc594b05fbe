"""`make soak-edge`: what untrusted clients can do to nginx and the app behind it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from bench import load
from tests import smuggling, wire
from tests.e2e.test_7_apps import app_settings
from tests.lab_server import PROJECT, Server

DEBIANS = ("12", "13")


@pytest.fixture(scope="module")
def servers(
    copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Server]:
    """Makes one host of each Debian that serves the echo app, which lists its requests."""
    deployed: dict[str, Server] = {}

    def server(debian: str) -> Server:
        if debian not in deployed:
            deployed[debian] = server = copy(debian)
            folder: Path = tmp_path_factory.mktemp("apps") / "one"
            server.entry["apps"] = [
                app_settings("one", folder, server, database="none", secrets=[])
            ]
            server.deploy()
        return deployed[debian]

    return server


def domain(server: Server) -> str:
    """Return the app's domain."""
    return str(server.app["domains"][0])


@pytest.mark.parametrize("debian", DEBIANS)
def test_no_request_is_hidden_in_another(
    servers: Callable[[str], Server], figures: dict[str, Any], debian: str
) -> None:
    server = servers(debian)
    cases = [*smuggling.http1(), *smuggling.http2()]
    names = Counter((case.version, case.name) for case in cases)
    assert max(names.values()) == 1
    outcomes = smuggling.attack(server, domain(server), cases, times=3)
    wrong = [(o.case.version, o.case.name, o.wrong) for o in outcomes if o.wrong]
    figures["nginx"] = server.run("/usr/sbin/nginx -v 2>&1")
    figures["cases"] = {f"HTTP/{v}": sum(c.version == v for c in cases) for v in (1, 2)}
    figures["sent"] = len(outcomes)
    figures["reached"] = sum(len(o.reached) for o in outcomes)
    assert wrong == []


def used(server: Server, *folders: str) -> int:
    """Return the bytes that folders use."""
    return int(server.run(f"du -bsc {' '.join(folders)} | tail -n 1 | cut -f1"))


def spooled(server: Server) -> list[int]:
    """Return the sizes of nginx's temporary files for bodies, which are deleted but open."""
    listed = server.run(
        "for pid in $(pgrep -f 'nginx: worker'); do"
        " find /proc/$pid/fd -lname '/var/lib/nginx/*' -exec stat -L -c %s {} +; done; true"
    )
    return [int(size) for size in listed.split()]


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "answered"])
def test_a_flood_gives_nobody_else_a_502(
    servers: Callable[[str], Server], figures: dict[str, Any], *, reset: bool
) -> None:
    """Two connections from one address for 10 s; a client at another address sends requests."""
    server = servers("12")
    seconds: list[float] = []
    before = used(server, "/var/log/nginx")
    with (
        wire.flood(server, domain(server), "/flood", 10, reset=reset) as one,
        wire.flood(server, domain(server), "/flood", 10, reset=reset) as two,
    ):
        for _ in range(40):
            begin = time.monotonic()
            answer = wire.get(server.host.address6, server, domain(server), "/other")
            assert answer.status_code == httpx.codes.OK
            seconds.append(time.monotonic() - begin)
            time.sleep(0.1)
    figures["sent"] = one.sent + two.sent
    figures["logged_bytes"] = used(server, "/var/log/nginx") - before
    figures["others"] = {"median": round(median(seconds), 3), "worst": round(max(seconds), 3)}
    assert figures["logged_bytes"] < 50_000_000


def test_a_browser_and_a_steady_client_meet_no_limit(
    servers: Callable[[str], Server], figures: dict[str, Any]
) -> None:
    server = servers("12")
    bursts = [
        wire.burst(server, domain(server), [f"/asset-{n}" for n in range(100)]) for _ in range(5)
    ]
    statuses = Counter(status for burst in bursts for status in burst)
    with httpx.Client(verify=wire.trust(server)) as client:
        start = time.monotonic()
        for number in range(1500):
            answer = client.get(
                f"https://{server.host.address}/steady",
                headers={"Host": domain(server)},
                extensions={"sni_hostname": domain(server)},
            )
            statuses[answer.status_code] += 1
            time.sleep(max(0, start + (number + 1) / 50 - time.monotonic()))
    figures["statuses"] = dict(statuses)
    assert set(statuses) == {200}


def test_a_stall_turns_no_steady_client_into_a_flood(
    servers: Callable[[str], Server], figures: dict[str, Any], csv: Path
) -> None:
    """250 requests a second from one address, as in the load tests; the app stops for 3 s."""
    server = servers("12")
    options = {
        "address": server.host.address,
        "domain": domain(server),
        "ca": str(server.host.acme_root),
        "out": str(csv),
        "seconds": "10",
        "gets": "200",
        "posts": "50",
    }
    arguments = [text for key, value in options.items() for text in (f"--{key}", value)]
    process = subprocess.Popen([sys.executable, "-m", "bench.load", *arguments], cwd=PROJECT)
    time.sleep(3)
    server.run("pkill -STOP -u one; sleep 3; pkill -CONT -u one")
    assert process.wait(60) == 0
    samples = load.read(csv)
    figures["statuses"] = dict(Counter(sample.status for sample in samples))
    figures["slowest"] = round(max(sample.seconds for sample in samples), 1)
    assert figures["slowest"] > 2.5, "the app did not stall"
    assert set(figures["statuses"]) <= {200, 201}


FROM = """
import socket, sys
source, target, domain, number = sys.argv[1:]
left, refused = int(number), 0
while left:
    now = min(left, 900)
    left -= now
    with socket.create_connection((target, 80), 5, (source, 0)) as link:
        link.sendall(f"GET / HTTP/1.1\\r\\nHost: {domain}\\r\\n\\r\\n".encode() * now)
        answers = 0
        while answers < now and (part := link.recv(65536)):
            answers += part.count(b"HTTP/1.1 ")
            refused += part.count(b"HTTP/1.1 429")
print(refused)
"""


def test_an_ipv6_network_is_one_client(
    servers: Callable[[str], Server], figures: dict[str, Any]
) -> None:
    server = servers("12")
    near, other = "fd00:1:2:3::5", "fd00:1:2:4::5"
    for address in ("fd00:1:2:3::6", near, other):
        server.run(f"ip addr add {address}/128 dev lo")

    def refused(source: str, number: int) -> int:
        target = f"{server.host.address6} {domain(server)} {number}"
        return int(server.run(f"python3 - {source} {target}", given=FROM))

    figures["refused"] = refused("fd00:1:2:3::6", 4500)
    figures["of_its_neighbour"] = refused(near, 1800)
    figures["of_another_network"] = refused(other, 1)
    for address in ("fd00:1:2:3::6", near, other):
        server.run(f"ip addr del {address}/128 dev lo")
    assert figures["refused"] > 500
    assert figures["of_its_neighbour"] > 0
    assert figures["of_another_network"] == 0


def test_long_headers_fill_no_disk(
    servers: Callable[[str], Server], figures: dict[str, Any]
) -> None:
    """21 kB per request for 10 s, mostly bytes that take four in a log."""
    server = servers("12")
    odd = "\r\n".join(f"{n}: {chr(255) * 7000}" for n in ("Referer", "User-Agent"))
    asked = f"GET /?{'x' * 7000} HTTP/1.1\r\nHost: {domain(server)}\r\n{odd}\r\n\r\n"
    before, stop, sent = used(server, "/var/log"), time.monotonic() + 10, 0
    while time.monotonic() < stop:
        with wire.connect(server, domain(server), "http/1.1") as connection, suppress(OSError):
            for _ in range(50):
                connection.sendall(asked.encode("latin-1"))
                sent += 1
            wire.received(connection, 0.02)
    server.run("systemctl start onebox-logrotate")
    figures["sent"] = sent
    figures["sent_bytes"] = sent * len(asked)
    figures["logged_bytes"] = used(server, "/var/log") - before
    assert sent > 500
    assert figures["logged_bytes"] < 100_000_000


def test_stalled_uploads_fill_no_disk(
    servers: Callable[[str], Server], figures: dict[str, Any]
) -> None:
    server = servers("12")
    head = f"POST /stalled HTTP/1.1\r\nHost: {domain(server)}\r\nContent-Length: 9999999\r\n\r\n"
    with ExitStack() as stack:
        connections = [
            stack.enter_context(wire.connect(server, domain(server), "http/1.1"))
            for _ in range(200)
        ]
        for connection in connections:
            connection.settimeout(5)
            with suppress(OSError):
                connection.sendall(head.encode() + b"x" * 1_000_000)
        time.sleep(1)
        files = spooled(server)
        figures["files"], figures["bytes"] = len(files), sum(files)
        answer = wire.get(server.host.address6, server, domain(server), "/other")
    assert 0 < len(files) <= 32
    assert sum(files) <= 32 * 1_100_000
    assert answer.status_code == httpx.codes.OK


def test_slow_downloads_fill_no_disk(
    servers: Callable[[str], Server], figures: dict[str, Any]
) -> None:
    server = servers("12")
    head = f"GET /sized?bytes=200000000 HTTP/1.1\r\nHost: {domain(server)}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(wire.connect(server, domain(server), "http/1.1"))
            connection.sendall(head)
        time.sleep(5)
        figures["files"] = len(spooled(server))
        answer = wire.get(server.host.address6, server, domain(server), "/other")
    assert answer.status_code == httpx.codes.OK
    assert figures["files"] == 0
