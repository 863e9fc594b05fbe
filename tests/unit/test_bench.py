"""What the measurements read from others' reports."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import AsyncMock, Mock

import pytest

from bench import results, wrk
from bench.load import Connection, Load

REPORT = """
Running 8s test @ https://links.example.com/measured
  Latency Distribution
     50%  860.00us
     75%   12.67ms
     90%   19.84ms
     99%    1.59s
  12137 requests in 8.01s, 3.35MB read
"""


def test_a_load_without_a_failure() -> None:
    assert wrk.parsed(REPORT) == wrk.Answers(
        requests=12137, failed=0, p50=0.86, p99=1590.0, printed=REPORT
    )


def test_failures_are_seen() -> None:
    sockets = "  Socket errors: connect 1, read 2, write 3, timeout 16\n"
    lines = sockets + "  Non-2xx or 3xx responses: 100\n"
    assert wrk.parsed(REPORT + lines).failed == 122


def test_a_load_without_an_answer() -> None:
    assert wrk.parsed("  0 requests in 5.02s, 0.00B read").requests == 0


@pytest.mark.parametrize("name", ["serving/tutorials", "app/soak"])
def test_a_result_of_the_app_depends_on_the_app(name: str) -> None:
    assert "app/links" in results.sources_of(name)
    for source in results.sources_of(name):
        assert (results.PROJECT / source).exists(), source


class OneAnswer(Connection):
    """A connection that nginx closes when it is used again, as a reload does."""

    def __init__(self) -> None:
        super().__init__(asyncio.StreamReader(), Mock())
        self.asked = 0

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer once."""
        assert request.startswith(b"GET / HTTP/1.1")
        self.asked += 1
        if self.asked > 1:
            raise asyncio.IncompleteReadError(b"", None)
        return 200, {}, b""


@pytest.mark.parametrize(("resend", "answered"), [(True, [200, 200]), (False, [200, 0])])
def test_only_a_load_that_may_sends_again(
    monkeypatch: pytest.MonkeyPatch, *, resend: bool, answered: list[int]
) -> None:
    monkeypatch.setattr("bench.load.ssl.create_default_context", Mock())
    load = Load("192.0.2.1", "example.com", "", resend=resend)
    monkeypatch.setattr(load, "_connect", AsyncMock(side_effect=OneAnswer))

    async def two() -> None:
        for _ in range(2):
            await load._request("GET", time.monotonic(), keep=True)

    asyncio.run(two())
    assert [sample.status for sample in load.samples] == answered
    assert load.samples[1].error
