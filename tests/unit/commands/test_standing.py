"""What a server says of itself, in the words of a summary."""

from __future__ import annotations

import pytest

from commands.standing import certificates, told


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("updates 3", "pending updates: 3"),
        ("reboot linux-image-amd64", "! wants a reboot, for linux-image-amd64"),
        ("failed a.service b.timer", "! failed units: a.service, b.timer"),
    ],
)
def test_each_thing_is_a_line(answer: str, line: str) -> None:
    assert [*told(answer)] == [line]


def test_nothing_is_told_of_a_server_that_needs_nobody() -> None:
    assert [*told("updates 0\nreboot\nfailed\n")] == []


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (
            {"certificate_days": 5, "certificate_late": False},
            "links: its certificate ends in 5 days",
        ),
        (
            {"certificate_days": 5, "certificate_late": True},
            "! links: its certificate ends in 5 days",
        ),
        ({"certificate_days": 5}, "links: its certificate ends in 5 days"),  # an older program
        ({"certificate_days": None, "certificate_late": True}, "! links: no certificate"),
        ({}, "! links: no certificate"),
    ],
)
def test_a_certificate_is_late_where_the_server_says_so(
    status: dict[str, object], line: str
) -> None:
    assert [*certificates({"links": status})] == [line]
