"""What is remembered of releases, and what is thrown away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from onebox_release.core import history, identity
from onebox_release.host import untrusted
from onebox_release.paths import Places

from tests.unit.onhost.server import Server


def remember(server: Server, *events: str) -> None:
    """Write down events such as "deploy a live"."""
    server.remember(*((what, name, end) for what, name, end in (e.split(" ", 2) for e in events)))


def test_an_entry_has_its_time_in_utc(places: Places) -> None:
    history.record(places, what="deploy", release="a", before="", result="live")
    [entry] = history.read(places)
    assert entry.pop("at").endswith("+00:00")
    assert entry == {"what": "deploy", "release": "a", "before": "", "result": "live"}


def test_no_history_is_an_empty_one(places: Places) -> None:
    assert history.read(places) == []


def test_a_torn_line_is_left_out(server: Server) -> None:
    server.remember(("deploy", "a", "live"), ("deploy", "b", "live"))
    text = server.places.history.read_text()
    server.places.history.write_text(text[:-20])
    assert [entry["release"] for entry in history.read(server.places)] == ["a"]


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
        (["deploy a live", "deploy b live", "rollback a live"], ["a", "b"]),
        (["deploy a live", "deploy b live", "rollback a failed"], ["b", "a"]),
        (["deploy a live", "deploy b live", "rollback a refused"], ["b", "a"]),
        (["deploy a live", "deploy b live", "rollback a put back"], ["b"]),
        (["deploy a live", "deploy b put back"], ["a"]),
        (["deploy a live", "deploy b put back", "deploy b live"], ["b", "a"]),
        (["deploy a failed", "deploy a live"], ["a"]),
    ],
)
def test_the_healthy_are_those_that_held_when_they_were_last_live(
    server: Server, events: list[str], healthy: list[str]
) -> None:
    server.make("a", "b")
    remember(server, *events)
    assert history.healthy(server.places) == healthy


@pytest.mark.parametrize(
    ("live", "previous"), [("c", "b"), ("b", "a"), ("a", None), (None, None), ("unknown", None)]
)
def test_the_previous_release_is_the_one_that_the_live_one_was_deployed_over(
    server: Server, live: str | None, previous: str | None
) -> None:
    server.make("a", "b", "c")
    server.remember(*(("deploy", name, "live") for name in "abc"))
    assert history.previous(server.places, live) == previous


def test_where_that_one_is_no_more_it_is_the_one_before_that(server: Server) -> None:
    server.make("a", "c")
    remember(server, "deploy a live", "deploy b live", "deploy c live")
    assert history.previous(server.places, "c") == "a"


def test_what_was_gone_back_from_is_not_gone_back_to(server: Server) -> None:
    server.make("a", "b", "c")
    remember(server, "deploy a live", "deploy b live", "rollback a live", "deploy c live")
    assert history.previous(server.places, "c") == "a"


@pytest.mark.parametrize(("here", "previous"), [("c", None), ("ac", "a"), ("bc", "b")])
def test_two_that_were_deployed_over_each_other_are_no_endless_search(
    server: Server, here: str, previous: str | None
) -> None:
    server.make(*here)
    remember(server, "deploy a live", "deploy b live", "deploy a live", "deploy c live")
    assert history.previous(server.places, "c") == previous


def test_a_release_is_not_its_own_previous_one(server: Server) -> None:
    server.make("a")
    remember(server, "deploy a live", "deploy b live", "deploy a live")
    assert history.previous(server.places, "a") is None


def test_the_successor_is_what_was_last_deployed_over_a_release(server: Server) -> None:
    remember(
        server, "deploy a live", "deploy b live", "rollback a live", "deploy x failed",
        "deploy c live", "deploy d live",
    )  # fmt: skip
    successors = {name: history.successor(server.places, name) for name in "abcdx"}
    assert successors == {"a": "c", "b": None, "c": "d", "d": None, "x": None}


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
    for age, digest in enumerate(("newer", "digest", "older")):
        places.incoming(digest).write_bytes(b"")
        os.utime(places.incoming(digest), (100 - age, 100 - age))
    history.prune(places, 2, {"a"}, "digest")
    assert names(places.home / "releases") == ["a", "c", "d"]
    assert names(places.configuration / "releases") == ["a.env", "c.env", "d.env"]
    assert names(places.home / "venvs") == ["for-a", "for-c", "for-d"]
    # A newer one waits for its own deploy.
    assert names(places.state / "incoming") == ["digest.tar.gz", "newer.tar.gz"]


def test_a_long_history_is_shortened_and_keeps_what_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST", 20)
    monkeypatch.setattr(history, "NEWEST", 5)
    server.make("a", "b", "c", "gone", "bad")
    lived = [
        ("deploy", "gone", "live"), ("deploy", "a", "live"), ("deploy", "b", "live"),
        ("deploy", "c", "live"), ("rollback", "b", "live"), ("deploy", "c", "put back"),
        ("deploy", "a", "live"),
    ]  # fmt: skip
    server.remember(*lived, *[("deploy", "bad", "failed")] * 30)
    places = server.places
    shutil.rmtree(places.release("gone"))

    def known() -> list[object]:
        return [
            history.healthy(places), history.previous(places, "a"), history.previous(places, "b"),
            [history.bringer(places, name) for name in "abc"],
            [history.memory(places, name) for name in "abc"],
        ]  # fmt: skip

    before = known()
    history.shorten(places)
    assert len(history.read(places)) == len(lived) - 2 + 5  # `gone` is, and a went live again
    assert known() == before


def test_archives_of_kept_releases_are_kept(server: Server) -> None:
    """`--data code=keep` releases the live one's again, after a rollback, too."""
    kept, gone, places = f"{identity.artifact('kept')}-1", "gone-1", server.places
    server.make(kept, gone)
    server.remember(("deploy", kept, "live"), ("deploy", gone, "failed"))
    for digest in ("kept", "gone", "new"):
        places.incoming(digest).write_bytes(b"")
    history.prune(places, 1, set(), "new")
    assert names(places.state / "incoming") == ["kept.tar.gz", "new.tar.gz"]
    assert identity.archived(places, kept) == "kept"
    assert identity.archived(places, f"{kept}.twin") == "kept"
    assert identity.archived(places, gone) is None


def test_who_brought_a_release_is_who_deployed_it_last(server: Server) -> None:
    for who in ("me at laptop", "A deploy key of links", None):
        history.record(server.places, what="deploy", release=f"{who}-1", result="live", who=who)
    history.record(server.places, what="rollback", release="me at laptop-1", result="live", who="x")
    history.record(server.places, what="deploy", release="me at laptop-1", result="live", who="ci")
    assert history.bringer(server.places, "A deploy key of links-1") == "A deploy key of links"
    assert history.bringer(server.places, "me at laptop-1") == "ci"
    assert history.bringer(server.places, "None-1") == ""
    assert history.bringer(server.places, "other") == ""


@pytest.mark.parametrize("live", ["a", "unheard-of"])
def test_the_live_release_is_never_pruned_whatever_the_history_says(
    server: Server, live: str
) -> None:
    server.make("a", "b", "c", "unheard-of")
    server.remember(("deploy", "a", "failed"), ("deploy", "b", "live"), ("deploy", "c", "live"))
    history.prune(server.places, 1, {live}, "digest")
    assert names(server.places.home / "releases") == sorted(["c", live])
    assert f"for-{live}" in names(server.places.home / "venvs")


@pytest.mark.parametrize("first", ["a", ".a.gone"])
def test_what_a_death_while_pruning_left_is_not_in_the_way_of_the_next(
    server: Server, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Meanwhile `a` was deployed anew; a disk lists names in any order."""
    iterdir = Path.iterdir

    def listed(folder: Path) -> list[Path]:
        return sorted(iterdir(folder), key=lambda path: path.name != first)

    server.make("a", "b")
    (server.places.home / "releases/.a.gone/app").mkdir(parents=True)
    server.remember(("deploy", "b", "live"))
    monkeypatch.setattr(Path, "iterdir", listed)
    history.prune(server.places, 1, {"b"}, "digest")
    assert names(server.places.home / "releases") == ["b"]


@pytest.mark.parametrize("kind", ["releases", "venvs"])
def test_a_death_while_pruning_leaves_nothing_half_under_a_name_that_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class DiedError(BaseException):
        pass

    remove = untrusted.delete

    def die(path: Path) -> None:
        if path.parent.name == kind and path.exists():
            raise DiedError
        remove(path)

    server.make("a", "b")
    (server.places.home / "venvs/for-a/.complete").write_text("")
    server.remember(("deploy", "b", "live"))
    monkeypatch.setattr(untrusted, "delete", die)
    with pytest.raises(DiedError):
        history.prune(server.places, 1, {"b"}, "digest")
    monkeypatch.undo()
    assert not (
        server.places.release("a")
        if kind == "releases"
        else server.places.home / "venvs/for-a/.complete"
    ).exists()
    if kind == "releases":
        server.places.release("a").mkdir()  # deployed anew meanwhile
    history.prune(server.places, 1, {"b"}, "digest")
    assert names(server.places.home / "releases") == ["b"]
    assert names(server.places.home / "venvs") == ["for-b"]
