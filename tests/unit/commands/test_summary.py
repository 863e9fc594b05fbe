"""The state of a server in a deploy's summary."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from commands.summary import certificate_lines, query, server_lines

FINE: dict[str, dict[str, Any]] = {"links": {"reboot": False}}


@pytest.mark.parametrize(
    ("status", "answer", "line"),
    [
        ({}, "updates 3", "pending updates: 3"),
        ({"reboot": True}, "reboot linux-image-amd64", "! reboot needed by linux-image-amd64"),
        ({"reboot": True}, "reboot", "! reboot needed"),
        ({}, "failed a.service b.timer", "! failed units: a.service, b.timer"),
    ],
)
def test_each_thing_is_a_line(status: dict[str, Any], answer: str, line: str) -> None:
    assert [*server_lines({"links": status}, answer)] == [line]


def test_a_server_that_needs_nothing_has_no_lines() -> None:
    assert [*server_lines(FINE, "updates 0\nreboot\nfailed\n")] == []
    assert [*server_lines(FINE, "")] == []


def test_the_query_is_one_shell_command() -> None:
    result = subprocess.run(["sh", "-c", query()], capture_output=True, text=True, check=False)
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "updates", "reboot", "failed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (
            {"certificate_days": 5, "certificate_late": False},
            "links: certificate expires in 5 days",
        ),
        (
            {"certificate_days": 5, "certificate_late": True},
            "! links: certificate expires in 5 days",
        ),
        ({"certificate_days": 5}, "links: certificate expires in 5 days"),  # an older program
        ({"certificate_days": None, "certificate_late": True}, "! links: no certificate"),
        ({}, "! links: no certificate"),
    ],
)
def test_a_certificate_is_late_if_the_server_reports_it(
    status: dict[str, object], line: str
) -> None:
    assert [*certificate_lines({"links": status})] == [line]
