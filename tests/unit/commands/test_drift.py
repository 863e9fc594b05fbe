"""Drift and preflight, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands.drift import Drift, _mark_outdated
from commands.preflight import Preflight
from operations import manifest
from operations.difference import EDITED, Difference
from operations.manifest import Unedited
from operations.release import ABANDONED
from settings.mistakes import Mistake
from tests.unit.hosts import run

MODE = Difference("/etc/links/secrets.env", "has mode 644, not 600")
LONG = Difference(
    "/srv/links/releases/0123456789ab-01234567/app/links/templates/home.html", "was altered"
)
KEY = Difference("SSH key of root: ssh-ed25519 SHA256:abc", "is not on record")


def test_no_drift_is_one_line() -> None:
    none = Drift("box", [], [])
    assert (str(none), none.code) == ("box has no drift.", 0)


def test_drift_is_printed_within_80_columns() -> None:
    found = Drift("box", [MODE, LONG], [KEY])
    assert found.code == 2
    assert str(found) == (
        "The next deploy fixes on box:\n"
        "  /etc/links/secrets.env has mode 644, not 600\n"
        f"  {LONG.what}\n"
        "      was altered\n"
        "\n"
        "Left to you on box:\n"
        "  SSH key of root: ssh-ed25519 SHA256:abc is not on record\n"
        "Remove what you don't recognise, then accept the rest with --data accept=true."
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
        "problems": [{"path": "disk", "expected": "more", "found": "less", "fix": "free some"}],
        "warnings": [],
    }


def test_an_app_that_is_to_be_removed_is_not_to_be_accepted() -> None:
    left = Difference("app shop", f"{ABANDONED}: `fab remove --app shop` removes it")
    assert str(Drift("box", [], [left])) == (
        "Left to you on box:\n"
        "  app shop\n"
        "      is on the server but not in the inventory: `fab remove --app shop` removes it"
    )
    assert str(Drift("box", [], [left, KEY])).endswith("--data accept=true.")


def test_a_file_that_nobody_edited_will_change() -> None:
    """Drift called app.env edited when another app had been added."""
    env, unit = Difference("/etc/links/app.env", EDITED), Difference("/etc/x.service", EDITED)
    host: Any = SimpleNamespace(get_fact=lambda _, paths: [path for path in paths if "env" in path])
    assert _mark_outdated([env, unit, MODE], host) == [
        Difference("/etc/links/app.env", "will change (unedited since the last deploy)"),
        unit,
        MODE,
    ]


def test_what_the_last_deploy_left_is_known_by_its_sums(tmp_path: Path) -> None:
    """Through a folder that is a link, too, as nginx's and that of our programs are."""
    (tmp_path / "nginx.1").mkdir()
    (tmp_path / "nginx").symlink_to("nginx.1")
    for name in ("app.env", "nginx.1/site.conf", "edited"):
        (tmp_path / name).write_text(name)
    paths = [tmp_path / name for name in ("app.env", "nginx.1/site.conf", "edited")]
    sums = run("sha256sum " + " ".join(map(str, paths)))
    (tmp_path / "manifest").write_text("".join(f"{line}\n" for line in sums))
    (tmp_path / "edited").write_text("x")
    asked = [str(tmp_path / name) for name in ("app.env", "nginx/site.conf", "edited", "absent")]
    command = Unedited().command(asked).replace(manifest.PATH, str(tmp_path / "manifest"))
    assert run(command) == asked[:2]
