"""A release: sent only where it is not the live one."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onebox_release.core.plan import Plan
from pyinfra.api.command import FunctionCommand
from pyinfra.api.hiddenvalue import HiddenValue

from operations.artifact import Artifact
from operations.difference import differences_of
from operations.release import DeployedApps, PlanFact, abandoned, deploy
from tests.unit.hosts import commands, run, stdin, text

NOTHING = HiddenValue("")
ARTIFACT = Artifact(b"\x1f\x8b hidden bytes", "abc123")


def of(data: dict[str, Any] | None) -> Plan | None:
    return Plan.of(data) if data else None


def test_a_plan_is_the_data_that_the_program_prints() -> None:
    output = ['{"schema": 1,', '"data": {"release": "a-b", "live": null, "up": []}}']
    assert PlanFact().process(output) == Plan(release="a-b", live=None, up=[])
    assert PlanFact().default() is None


def test_a_plan_of_another_version_is_read_as_far_as_it_is_known() -> None:
    """The server's program is installed by the same deploy, after drift has asked the old one."""
    assert Plan.of({"release": "a-b", "live": "a-b", "up": [], "more": 1}).differences == []


def test_a_plan_is_requested_from_our_program() -> None:
    assert PlanFact().command("links", "abc123") == (
        "/usr/local/bin/onebox-release plan links abc123 2>/dev/null || true"
    )


def test_a_release_that_is_live_is_left_alone() -> None:
    facts = {PlanFact: Plan("a-b", "a-b", ["a-b"])}
    assert commands(deploy, "links", ARTIFACT, NOTHING, facts=facts) == []


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
    send, switch = commands(deploy, "links", ARTIFACT, NOTHING, facts={PlanFact: of(plan)})
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
            ["release a-b has an outdated configuration"],
        ),
        ({"release": "a-b", "live": "a-b", "up": []}, ["release a-b is not running"]),
        (
            {"release": "a-b", "live": "a-b", "up": ["a-b", "e-f"]},
            ["release e-f is running beside the live one"],
        ),
        (
            {"release": "a-b", "live": "a-b", "up": ["a-b"], "differences": [["/x", "is extra"]]},
            ["/x is extra"],
        ),
    ],
)
def test_differences_are_reported(plan: dict[str, Any] | None, words: list[str]) -> None:
    found = commands(deploy, "links", ARTIFACT, NOTHING, facts={PlanFact: of(plan)})
    assert [f"{d.what} {d.how}" for command in found for d in differences_of(command)] == words


BY_KEY = {"release": "c-b", "live": "a-b", "up": ["a-b"], "by_key": True, "digest": "d1"}


def test_code_of_a_deploy_key_that_a_deploy_replaces_is_named() -> None:
    """A person's deploy of the configuration silently took CI's release back."""
    [send, _] = commands(deploy, "links", ARTIFACT, NOTHING, facts={PlanFact: of(BY_KEY)})
    [difference] = differences_of(send)
    assert difference.how == (
        "is live, not c-b; a deploy key released its code: add --data code=keep to keep it"
    )
    assert Plan.of(BY_KEY).reverts_a_key


@pytest.mark.parametrize(
    "plan",
    [{**BY_KEY, "release": "a-c"}, {**BY_KEY, "by_key": False}, {**BY_KEY, "live": None}],
)
def test_other_deploys_replace_nothing_of_a_key(plan: dict[str, Any]) -> None:
    assert not Plan.of(plan).reverts_a_key


def test_code_that_is_kept_is_released_again_where_its_configuration_differs() -> None:
    plan = {**BY_KEY, "release": "a-c"}
    [switch] = commands(deploy, "links", None, NOTHING, facts={PlanFact: of(plan)})
    assert switch.args == ("links", "d1", NOTHING)
    assert [each.how for each in differences_of(switch)] == ["has an outdated configuration"]
    same = {**BY_KEY, "release": "a-b"}
    assert commands(deploy, "links", None, NOTHING, facts={PlanFact: of(same)}) == []


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (None, "nothing is live"),
        ({**BY_KEY, "live": None, "digest": None}, "nothing is live"),
        ({**BY_KEY, "digest": None}, "the archive of release a-b is gone"),
    ],
)
def test_without_code_to_keep_an_app_is_not_released(
    plan: dict[str, Any] | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    [refuse] = commands(deploy, "links", None, NOTHING, facts={PlanFact: of(plan)})
    host = SimpleNamespace(print_prefix="")
    assert refuse.function(None, host, *refuse.args) is False
    assert caplog.messages == [
        f"links: no code to keep, {why}. Fix: deploy without --data code=keep."
    ]


def test_apps_that_the_inventory_no_longer_has_are_named_with_their_removal(tmp_path: Path) -> None:
    for name in ("links.json", "shop.json", "acme-ca.pem"):
        (tmp_path / name).touch()
    deployed = run(DeployedApps().command().replace("/etc/onebox", str(tmp_path)))
    assert run(DeployedApps().command().replace("/etc/onebox", str(tmp_path / "absent"))) == []
    host: Any = SimpleNamespace(get_fact=lambda _: deployed)
    [left] = abandoned(host, ["links", "new"])
    assert (left.what, left.how) == (
        "app shop",
        "is on the server but not in the inventory: `fab remove --app shop` removes it",
    )
