"""bench/load.py: connections that nginx closes."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import AsyncMock, Mock

import pytest

from bench.load import Connection, Load


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
