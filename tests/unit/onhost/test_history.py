"""What is remembered of releases, and what is thrown away."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from onebox_release import history
from onebox_release.places import Places

from tests.unit.onhost.server import Server


def order(*events: str) -> list[str]:
    """Return by_deploy of events such as "deploy a live"."""
    names = ("what", "release", "result")
    return history.by_deploy(dict(zip(names, event.split(), strict=True)) for event in events)


def test_an_entry_has_its_time_in_utc(places: Places) -> None:
    history.record(places, what="deploy", release="a", result="live")
    [entry] = history.read(places)
    assert entry.pop("at").endswith("+00:00")
    assert entry == {"what": "deploy", "release": "a", "result": "live"}


def test_no_history_is_an_empty_one(places: Places) -> None:
    assert history.read(places) == []


def test_a_torn_line_is_left_out(server: Server) -> None:
    server.remember(("deploy", "a", "live"), ("deploy", "b", "live"))
    text = server.places.history.read_text()
    server.places.history.write_text(text[:-20])
    assert [entry["release"] for entry in history.read(server.places)] == ["a"]


@pytest.mark.xfail(strict=True, reason="append() writes on where the torn line ends: both are lost")
def test_a_torn_line_does_not_swallow_the_next(places: Places) -> None:
    places.history.write_text('{"at": "2026')
    history.record(places, what="deploy", release="b", result="live")
    assert [entry["release"] for entry in history.read(places)] == ["b"]


@pytest.mark.parametrize(
    ("events", "healthy"),
    [
        (["deploy a live", "deploy b live"], ["b", "a"]),
        (["deploy a live", "deploy b failed"], ["a"]),
        (["deploy a live", "deploy b live", "deploy a live"], ["a", "b"]),
        (["deploy a live", "deploy b live", "rollback a live"], ["b", "a"]),
        (["deploy a live", "deploy b live", "deploy b failed"], ["a"]),
        (["deploy a failed", "deploy a live"], ["a"]),
        (["recover a live"], ["a"]),
    ],
)
def test_the_healthy_are_those_whose_last_word_is_good(
    events: list[str], healthy: list[str]
) -> None:
    assert order(*events) == healthy


@pytest.mark.parametrize(
    ("live", "previous"), [("c", "b"), ("b", "a"), ("a", None), (None, "c"), ("unknown", "c")]
)
def test_the_previous_release_is_the_one_deployed_before(
    server: Server, live: str | None, previous: str | None
) -> None:
    server.make("a", "b", "c")
    server.remember(*(("deploy", name, "live") for name in "abc"))
    assert history.previous(server.places, live) == previous


def test_a_release_whose_folder_is_gone_is_none_to_go_back_to(server: Server) -> None:
    server.make("a")
    server.remember(("deploy", "gone", "live"), ("deploy", "a", "live"))
    assert history.healthy(server.places) == ["a"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pruning_keeps_the_live_and_the_last_healthy(server: Server) -> None:
    server.make("a", "b", "c", "d", "broken")
    server.remember(*(("deploy", name, "live") for name in "abcd"), ("deploy", "broken", "failed"))
    places = server.places
    (places.home / "releases/.e.new").mkdir()
    places.incoming("digest").write_bytes(b"")
    history.prune(places, 2, live="a")
    assert names(places.home / "releases") == ["a", "c", "d"]
    assert names(places.configuration / "releases") == ["a.env", "c.env", "d.env"]
    assert names(places.home / "venvs") == ["for-a", "for-c", "for-d"]
    assert names(places.state / "incoming") == []


@pytest.mark.parametrize("live", ["a", "unheard-of"])
def test_the_live_release_is_never_pruned_whatever_the_history_says(
    server: Server, live: str
) -> None:
    server.make("a", "b", "c", "unheard-of")
    server.remember(("deploy", "a", "failed"), ("deploy", "b", "live"), ("deploy", "c", "live"))
    history.prune(server.places, 1, live=live)
    assert names(server.places.home / "releases") == sorted(["c", live])
    assert f"for-{live}" in names(server.places.home / "venvs")


@pytest.mark.xfail(
    strict=True, reason="what is removed keeps its name till the end, and a redeploy uses the half"
)
@pytest.mark.parametrize("kind", ["releases", "venvs"])
def test_a_death_while_pruning_leaves_nothing_half_under_a_name_that_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class DiedError(BaseException):
        pass

    remove = shutil.rmtree

    def die(path: Path, **options: Any) -> None:
        if path.parent.name == kind:
            raise DiedError
        remove(path, **options)

    server.make("a", "b")
    (server.places.home / "venvs/for-a/.complete").write_text("")
    server.remember(("deploy", "b", "live"))
    monkeypatch.setattr(shutil, "rmtree", die)
    with pytest.raises(DiedError):
        history.prune(server.places, 1, live="b")
    assert not (
        server.places.release("a")
        if kind == "releases"
        else server.places.home / "venvs/for-a/.complete"
    ).exists()
