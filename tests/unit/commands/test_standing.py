"""What a server says of itself, in the words of a summary."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commands.standing import told

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            "certificate links notAfter=2026-12-20 07:41:49Z",
            "links: its certificate ends in 30 days",
        ),
        (
            "certificate links notAfter=2026-11-25 07:41:49Z",
            "! links: its certificate ends in 5 days",
        ),
        ("certificate links", "! links: no certificate"),
        ("updates 3", "pending updates: 3"),
        ("reboot linux-image-amd64", "! wants a reboot, for linux-image-amd64"),
        ("failed a.service b.timer", "! failed units: a.service, b.timer"),
    ],
)
def test_each_thing_is_a_line(answer: str, line: str) -> None:
    assert [*told(answer, NOW)] == [line]


def test_nothing_is_told_of_a_server_that_needs_nobody() -> None:
    assert [*told("updates 0\nreboot\nfailed\n", NOW)] == []
