"""Send a constant load through nginx, over TLS, and write a CSV row for every request.

Open loop: requests start on time whether or not earlier ones have been answered, and a latency
counts from the moment at which its request was due. Even requests go over kept connections, odd
ones over new ones. It ends after `--seconds`, or on SIGTERM.

With `--resend`, a request on a kept connection that was closed before the first byte of an answer
is sent once more, over a new connection, as browsers do. That is for tests that reload nginx: a
reload closes idle connections.

    python -m bench.load --address 10.213.0.11 --domain probe.test --ca root.pem \\
        --gets 200 --posts 50 --seconds 60 --out load.csv
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import signal
import ssl
import time
import uuid
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

TIMEOUT = 30  # seconds for one request


@dataclass(frozen=True)
class Sample:
    """One request. Times are seconds; `at` is of the epoch, `status` 0 without an answer. A request
    that was sent again has both a status and an error."""

    at: float
    method: str
    seconds: float
    status: int
    release: str
    key: str
    error: str

    @property
    def failed(self) -> bool:
        """Return whether the status is not one of a healthy app."""
        return self.status not in {200, 201}


@dataclass
class Connection:
    """A connection's streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return the answer's status, headers and body."""
        self.writer.write(request)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (li.split(": ", 1) for li in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split(" ")[1]), headers, body

    def close(self) -> None:
        """Close without waiting for the other side."""
        self.writer.close()


class Load:
    """Sends the requests and keeps a sample of each."""

    def __init__(self, address: str, domain: str, ca: str, *, resend: bool = False) -> None:
        self.address, self.domain, self.resend = address, domain, resend
        self.trust = ssl.create_default_context(cafile=ca)
        self.idle: list[Connection] = []
        self.samples: list[Sample] = []

    async def run(self, gets: float, posts: float, seconds: float, stop: asyncio.Event) -> None:
        """Send so many requests a second for `seconds`, or until `stop` is set."""
        await asyncio.gather(
            self._schedule("GET", gets, seconds, stop), self._schedule("POST", posts, seconds, stop)
        )

    async def _schedule(self, method: str, rate: float, length: float, stop: asyncio.Event) -> None:
        start, number = time.monotonic(), 0
        running: set[asyncio.Task[None]] = set()
        while rate and number < rate * length and not stop.is_set():
            due = start + number / rate
            await asyncio.sleep(max(0, due - time.monotonic()))
            task = asyncio.create_task(self._request(method, due, keep=number % 2 == 0))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        if running:
            await asyncio.wait(running)

    async def _request(self, method: str, due: float, *, keep: bool) -> None:
        at = time.time() - (time.monotonic() - due)
        status, release, error, key = 0, "", "", uuid.uuid4().hex if method == "POST" else ""
        request = self._bytes(method, key, keep=keep)
        kept = self._kept() if keep else None
        connection = kept
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = kept or await self._connect()
                try:
                    status, headers, _ = await connection.ask(request)
                except (ConnectionError, asyncio.IncompleteReadError) as closed:
                    if not (self.resend and kept and not getattr(closed, "partial", b"")):
                        raise
                    error = f"sent again after {type(closed).__name__}: {closed}"
                    connection.close()
                    connection = await self._connect()
                    status, headers, _ = await connection.ask(request)
            release = headers.get("x-release", "")
            if keep and headers.get("connection") != "close":
                self.idle.append(connection)
            else:
                connection.close()
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
            if connection:
                connection.close()
        took = time.monotonic() - due
        self.samples.append(Sample(at, method, took, status, release, key, error))

    def _kept(self) -> Connection | None:
        """Return a kept connection; drop those that nginx has closed, as every client does."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.reader.at_eof():
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        reader, writer = await asyncio.open_connection(
            self.address, 443, ssl=self.trust, server_hostname=self.domain
        )
        return Connection(reader, writer)

    def _bytes(self, method: str, key: str, *, keep: bool) -> bytes:
        path, body = ("/rows", json.dumps({"key": key})) if method == "POST" else ("/", "")
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.domain}",
            f"Connection: {'keep-alive' if keep else 'close'}",
            *([f"Content-Length: {len(body)}"] if body else []),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def read(path: Path) -> list[Sample]:
    """Return the samples of a CSV file."""
    with path.open() as file:
        return [
            Sample(float(r["at"]), r["method"], float(r["seconds"]), int(r["status"]),
                   r["release"], r["key"], r["error"])
            for r in csv.DictReader(file)
        ]  # fmt: skip


def write(path: Path, samples: list[Sample]) -> None:
    """Write samples to a CSV file, ordered by time."""
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Sample))
        writer.writerows(astuple(sample) for sample in sorted(samples, key=lambda s: s.at))


async def main() -> None:
    """Run a load from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("address", "domain", "ca", "out"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("gets", 200.0), ("posts", 50.0), ("seconds", 60.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--resend", action="store_true")
    options = parser.parse_args()
    load = Load(options.address, options.domain, options.ca, resend=options.resend)
    stop = asyncio.Event()
    with suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await load.run(options.gets, options.posts, options.seconds, stop)
    write(Path(options.out), load.samples)


if __name__ == "__main__":
    asyncio.run(main())
