"""What differs is told to people and to programs."""

from __future__ import annotations

import json

import pytest

from commands.drift import Drift
from commands.preflight import Preflight
from operations.difference import Difference
from validation.mistakes import Mistake

MODE = Difference("/etc/links/secrets.env", "has mode 644, not 600")
LONG = Difference(
    "/srv/links/releases/0123456789ab-01234567/app/links/templates/home.html", "was altered"
)
KEY = Difference("SSH key of root: ssh-ed25519 SHA256:abc", "is not on record")


def test_no_drift_is_one_line() -> None:
    none = Drift("box", [], [])
    assert (str(none), none.code) == ("box is as the repository wants it.", 0)


def test_drift_is_told_within_80_columns() -> None:
    found = Drift("box", [MODE, LONG], [KEY])
    assert found.code == 2
    assert str(found) == (
        "The next deploy mends on box:\n"
        "  /etc/links/secrets.env has mode 644, not 600\n"
        f"  {LONG.what}\n"
        "      was altered\n"
        "\n"
        "Left to you on box:\n"
        "  SSH key of root: ssh-ed25519 SHA256:abc is not on record\n"
        "Take away what nobody wanted. What is then still here is put on record by a\n"
        "deploy with --data accept=true."
    )


@pytest.mark.parametrize(("deploy", "person"), [([MODE], []), ([], [KEY])])
def test_either_kind_is_drift(deploy: list[Difference], person: list[Difference]) -> None:
    assert Drift("box", deploy, person).code == 2


def test_drift_for_programs() -> None:
    assert json.loads(Drift("box", [MODE], []).document()) == {
        "schema": 1,
        "host": "box",
        "app": None,
        "data": {
            "deploy": [{"what": "/etc/links/secrets.env", "how": "has mode 644, not 600"}],
            "person": [],
        },
    }


def test_a_preflight_for_people_and_for_programs() -> None:
    ready = Preflight("box", [], ["x has no address in DNS."])
    assert (ready.code, str(ready)) == (0, "box can take a deploy.\n\nx has no address in DNS.")
    refused = Preflight("box", [Mistake("disk", "more", "less", "free some")], [])
    assert refused.code == 4
    assert json.loads(refused.document())["data"] == {
        "problems": [{"path": "disk", "expected": "more", "found": "less", "mend": "free some"}],
        "warnings": [],
    }
