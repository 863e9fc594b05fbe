"""What counts as wrong, and what does not, given figures alone."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from onebox_checks import rules
from onebox_checks.observation import App, Disk, Observation
from onebox_checks.rules import Past
from onebox_release.host.certificates import Certificate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY = 24 * 3600
GIB = 1024**3
WEB = "links-web@r1.service"
WELL = App(
    name="links",
    domain="links.test",
    live="r1",
    certificate=Certificate(NOW - 10 * DAY, NOW + 80 * DAY),
    restarts={WEB: 0},
    last={
        "at": "2026-11-20T10:00:00+00:00",
        "what": "deploy",
        "release": "r1",
        "result": "succeeded",
    },
    timers={"report": {"result": "success"}},
)
HALF = Disk("/", 10 * GIB, 5 * GIB, 1000, 500)
FINE = Observation(at=NOW, apps=[WELL], disks=[HALF], memory=(5 * GIB, 10 * GIB), clock=0.4)
NONE = Past(set(), {}, {})


def app(**changes: Any) -> Observation:
    return replace(FINE, apps=[replace(WELL, **changes)])


def last(**changes: Any) -> Observation:
    return app(last={**(WELL.last or {}), **changes})


def keys(seen: Observation, past: Past = NONE) -> list[str]:
    return [finding.key for finding in rules.judge(seen, past)]


def test_a_healthy_server_has_no_findings() -> None:
    assert keys(FINE) == []


WRONG = [
    ("answer:links", app(failure="503 Service Unavailable")),
    ("answer:links", app(live=None, missing="r1")),
    ("release:links", app(down=[WEB])),
    ("release:links", app(others=["r0"])),
    ("unit:a.service", replace(FINE, failed=["a.service"])),
    ("unit:nginx.service", replace(FINE, stopped=["nginx.service"])),
    ("disk:/", replace(FINE, disks=[replace(HALF, free=GIB)])),
    ("disk:/", replace(FINE, disks=[replace(HALF, files_free=99)])),
    ("memory:server", replace(FINE, memory=(GIB - 1, 10 * GIB))),
    ("memory:server", replace(FINE, pressure=0.2)),
    ("certificate:links", app(certificate=Certificate(NOW - 64 * DAY, NOW + 26 * DAY))),
    ("certificate:links", app(certificate=Certificate(NOW - 100 * DAY, NOW - 10 * DAY))),
    ("certificate:links", app(uncertified=["www.links.test"])),
    ("certificate:links", app(uncertified=["links.test"], failure="TLS alert", certificate=None)),
    ("clock:server", replace(FINE, clock=-61.0)),
    ("time:server", replace(FINE, timekeeper=False)),
    ("firewall:table", replace(FINE, firewall="is gone")),
    ("firewall:ssh", replace(FINE, closed=[2222])),
    ("firewall:link-local", replace(FINE, link_local=False)),
    ("paused:links", app(paused=True, failure="502 Bad Gateway", down=[WEB])),
    ("database:server", replace(FINE, database="FATAL: sorry, too many clients already")),
    ("reboot:server", replace(FINE, reboot="linux-image-amd64")),
    ("drift:server", replace(FINE, drift=["/etc/onebox/links.json"])),
    ("libraries:server", replace(FINE, libraries={"nginx.service": ["/usr/lib/libssl.so.3"]})),
    ("updates:server", replace(FINE, updates=["APT::Periodic::Unattended-Upgrade is 0, not 1"])),
    ("deploy:links", last(result="failed")),
    ("deploy:links", last(result="rolled back")),
    ("timer:links-report", app(timers={"report": {"result": "timeout"}})),
]


@pytest.mark.parametrize(("key", "seen"), WRONG)
def test_each_cause_is_found_alone_and_says_what_to_do(key: str, seen: Observation) -> None:
    [finding] = rules.judge(seen, NONE)
    assert finding.key == key
    assert finding.what
    assert finding.do


@pytest.mark.parametrize(
    "seen",
    [
        replace(FINE, disks=[replace(HALF, free=int(1.1 * GIB))]),
        replace(FINE, disks=[replace(HALF, files=0, files_free=0)]),  # btrfs counts none
        replace(FINE, memory=(GIB, 10 * GIB)),
        app(
            certificate=Certificate(NOW - 62 * DAY, NOW + 28 * DAY)
        ),  # just renewed by certbot, or soon
        replace(FINE, clock=59.0),
        replace(FINE, clock=None),
        last(result="failed", at="2026-11-19T11:59:00+00:00"),  # a day ago: no news
        app(live=None, failure="ConnectionRefusedError"),  # nothing was deployed yet
        app(live=None, uncertified=["links.test"]),
        app(last=None),
    ],
)
def test_what_happens_on_any_day_is_nothing(seen: Observation) -> None:
    assert keys(seen) == []


def test_a_failed_unit_of_ours_is_reported_once() -> None:
    assert keys(replace(FINE, failed=["nginx.service"], stopped=["nginx.service"])) == [
        "unit:nginx.service"
    ]


@pytest.mark.parametrize("whole", [True, False])
def test_a_deploy_under_way_hides_what_it_does_itself(*, whole: bool) -> None:
    """That of one app, which its deploy key can prolong, hides nothing of another or the server."""
    bad = replace(FINE.apps[0], others=["r2"], down=[WEB], failure="no answer")
    apps = [replace(bad, deploying=not whole), replace(bad, name="shop")]
    seen = replace(FINE, apps=apps, drift=["/etc/links/app.env"], deploying=whole)
    answers = ["answer:links", "answer:shop"]
    assert keys(seen) == (answers if whole else [*answers, "release:shop", "drift:server"])
    assert rules.unknown(seen) == ({"release", "drift"} if whole else {"release:links"})


def test_what_an_app_says_at_length_is_cut() -> None:
    """It is in one message with all that is new, which its receiver may else refuse."""
    why = "Release 1 became unhealthy: it crashed.\n" + "x" * 5_000_000 + "the end"
    [finding] = rules.judge(last(result="failed", why=why), Past(set(), {}, {}))
    assert len(finding.what) < 2 * rules.LONGEST
    assert "it crashed." in finding.what
    assert finding.what.endswith("the end")


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ([0, 0, 0], 5, True),
        ([0, 2, 4], 4, False),
        ([3, 3], 7, False),  # what happened before lately is forgiven
        ([9, 9], 2, False),  # a unit started afresh counts from 0
        ([4, 0], 5, True),
        ([9], 5, True),
        ([], 9, False),
    ],
)
def test_a_crash_loop_is_five_restarts_of_one_unit_lately(
    before: list[int], now: int, *, found: bool
) -> None:
    samples = [(NOW - 300 * i, count) for i, count in enumerate(before)]
    past = Past(set(), {}, {WEB: samples})
    assert keys(app(restarts={WEB: now}), past) == (["release:links"] if found else [])


def filling(*free: float) -> Past:
    """Return disks' samples of the last hour, in GiB, the oldest first."""
    return Past(
        set(), {"/": [(NOW - 3600 + 300 * i, int(f * GIB)) for i, f in enumerate(free)]}, {}
    )


def test_a_disk_that_fills_is_reported_half_a_day_before() -> None:
    fast = filling(*(5 + 0.5 * (12 - i) / 12 for i in range(12)))  # 0.5 GiB an hour
    assert keys(FINE, fast) == ["disk:/"]
    slow = filling(*(5 + 0.4 * (12 - i) / 12 for i in range(12)))
    assert keys(FINE, slow) == []


def test_one_large_file_is_no_pace() -> None:
    assert keys(FINE, filling(*[8.0] * 6, *[5.0] * 6)) == []
    assert keys(FINE, filling(*[5.5] * 3, *[5.0] * 3)) == []  # too few samples


@pytest.mark.parametrize(
    ("key", "seen"),
    [
        ("disk:/", replace(FINE, disks=[replace(HALF, free=int(1.2 * GIB))])),
        ("memory:server", replace(FINE, memory=(int(1.2 * GIB), 10 * GIB))),
        ("memory:server", replace(FINE, pressure=0.06)),
    ],
)
def test_what_was_wrong_must_be_clearly_right_again(key: str, seen: Observation) -> None:
    assert keys(seen) == []
    assert keys(seen, Past({key}, {}, {})) == [key]


def test_a_deploy_that_fails_again_is_news_again() -> None:
    first, second = last(result="failed"), last(result="failed", at="2026-11-20T11:00:00+00:00")
    marks = {finding.mark for seen in (first, second) for finding in rules.judge(seen, NONE)}
    assert len(marks) == 2


def test_every_check_is_explained_and_nothing_else_is() -> None:
    text = (Path(__file__).resolve().parents[4] / "docs/checks.md").read_text()
    explained = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert explained == {key.partition(":")[0] for key, _ in WRONG}
