"""A release: sent only where it is not the live one."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand
from pyinfra.api.hiddenvalue import HiddenValue

from operations.artifact import Artifact
from operations.difference import mended
from operations.release import Plan, live
from tests.unit.hosts import commands, stdin, text

NOTHING = HiddenValue("")
ARTIFACT = Artifact(b"\x1f\x8b hidden bytes", "abc123")


def test_a_plan_is_the_data_of_what_the_program_says() -> None:
    output = ['{"schema": 1,', '"data": {"release": "a-b", "live": null, "up": []}}']
    assert Plan().process(output) == {"release": "a-b", "live": None, "up": []}
    assert Plan().default() is None


def test_a_plan_is_asked_of_our_program() -> None:
    assert Plan().command("links", "abc123") == (
        "/usr/local/bin/onebox-release plan links abc123 2>/dev/null || true"
    )


def test_a_release_that_is_live_is_left_alone() -> None:
    facts = {Plan: {"release": "a-b", "live": "a-b", "up": ["a-b"]}}
    assert commands(live, "links", ARTIFACT, NOTHING, facts=facts) == []


@pytest.mark.parametrize(
    "plan",
    [
        None,
        {"release": "a-b", "live": None, "up": []},
        {"release": "a-b", "live": "a-a", "up": ["a-a"]},
        {"release": "a-b", "live": "a-b", "up": []},
        {"release": "a-b", "live": "a-b", "up": ["a-a", "a-b"]},
    ],
)
def test_another_release_is_sent_and_switched_to(plan: dict[str, Any] | None) -> None:
    send, switch = commands(live, "links", ARTIFACT, NOTHING, facts={Plan: plan})
    path = "/var/lib/onebox/links/incoming/abc123.tar.gz"
    assert text(send) == f"base64 -d > {path}.new && mv {path}.new {path}"
    assert base64.b64decode(stdin(send)) == ARTIFACT.content
    assert isinstance(switch, FunctionCommand)
    assert switch.args == ("links", "abc123", NOTHING)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (None, ["app links has no live release"]),
        ({"release": "a-b", "live": None, "up": []}, ["app links has no live release"]),
        ({"release": "c-d", "live": "a-b", "up": ["a-b"]}, ["release a-b is live, not c-d"]),
        (
            {"release": "a-d", "live": "a-b", "up": ["a-b"]},
            ["release a-b has another configuration"],
        ),
        ({"release": "a-b", "live": "a-b", "up": []}, ["release a-b is not up"]),
        (
            {"release": "a-b", "live": "a-b", "up": ["a-b", "e-f"]},
            ["release e-f is up beside the live one"],
        ),
        (
            {"release": "a-b", "live": "a-b", "up": ["a-b"], "differences": [["/x", "is extra"]]},
            ["/x is extra"],
        ),
    ],
)
def test_what_differs_is_told(plan: dict[str, Any] | None, words: list[str]) -> None:
    found = commands(live, "links", ARTIFACT, NOTHING, facts={Plan: plan})
    assert [f"{d.what} {d.how}" for command in found for d in mended(command)] == words
