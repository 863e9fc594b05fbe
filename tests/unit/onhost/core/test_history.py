"""What is remembered of releases, and what is thrown away."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from onebox_release.app import App
from onebox_release.core import history, identity
from onebox_release.host import untrusted

from tests.unit.onhost.fake_server import Server


def remember(server: Server, *events: str) -> None:
    """Write down events such as "deploy a succeeded"."""
    server.remember(*((what, name, end) for what, name, end in (e.split(" ", 2) for e in events)))


def test_an_entry_has_its_time_in_utc(app: App) -> None:
    history.record(app, what="deploy", release="a", before="", result="succeeded")
    [entry] = history.read(app)
    assert entry.pop("at").endswith("+00:00")
    assert entry == {"what": "deploy", "release": "a", "before": "", "result": "succeeded"}


def test_no_history_is_an_empty_one(app: App) -> None:
    assert history.read(app) == []


def test_a_torn_line_is_left_out(server: Server) -> None:
    server.remember(("deploy", "a", "succeeded"), ("deploy", "b", "succeeded"))
    text = server.app.history.read_text()
    server.app.history.write_text(text[:-20])
    assert [entry["release"] for entry in history.read(server.app)] == ["a"]


def test_a_torn_line_does_not_swallow_the_next(app: App) -> None:
    app.history.write_text('{"at": "2026')
    history.record(app, what="deploy", release="b", result="succeeded")
    assert [entry["release"] for entry in history.read(app)] == ["b"]


@pytest.mark.parametrize(
    ("events", "healthy"),
    [
        (["deploy a succeeded", "deploy b succeeded"], ["b", "a"]),
        (["deploy a succeeded", "deploy b failed"], ["a"]),
        (["deploy a succeeded", "deploy b succeeded", "deploy a succeeded"], ["a", "b"]),
        (["deploy a succeeded", "deploy b succeeded", "rollback a succeeded"], ["a", "b"]),
        (["deploy a succeeded", "deploy b succeeded", "rollback a failed"], ["b", "a"]),
        (["deploy a succeeded", "deploy b succeeded", "rollback a refused"], ["b", "a"]),
        (["deploy a succeeded", "deploy b succeeded", "rollback a rolled back"], ["b"]),
        (["deploy a succeeded", "deploy b rolled back"], ["a"]),
        (["deploy a live", "deploy b live", "deploy b put back"], ["a"]),  # an older onebox's words
        (["deploy a succeeded", "deploy b rolled back", "deploy b succeeded"], ["b", "a"]),
        (["deploy a failed", "deploy a succeeded"], ["a"]),
    ],
)
def test_the_healthy_are_those_that_held_when_they_were_last_live(
    server: Server, events: list[str], healthy: list[str]
) -> None:
    server.make("a", "b")
    remember(server, *events)
    assert history.healthy(server.app) == healthy


@pytest.mark.parametrize(
    ("live", "previous"), [("c", "b"), ("b", "a"), ("a", None), (None, None), ("unknown", None)]
)
def test_the_previous_release_is_the_one_that_the_live_one_was_deployed_over(
    server: Server, live: str | None, previous: str | None
) -> None:
    server.make("a", "b", "c")
    server.remember(*(("deploy", name, "succeeded") for name in "abc"))
    assert history.previous(server.app, live) == previous


def test_where_that_one_is_no_more_it_is_the_one_before_that(server: Server) -> None:
    server.make("a", "c")
    remember(server, "deploy a succeeded", "deploy b succeeded", "deploy c succeeded")
    assert history.previous(server.app, "c") == "a"


def test_what_was_rolled_back_from_is_not_rolled_back_to(server: Server) -> None:
    server.make("a", "b", "c")
    remember(
        server,
        "deploy a succeeded",
        "deploy b succeeded",
        "rollback a succeeded",
        "deploy c succeeded",
    )
    assert history.previous(server.app, "c") == "a"


@pytest.mark.parametrize(("here", "previous"), [("c", None), ("ac", "a"), ("bc", "b")])
def test_two_that_were_deployed_over_each_other_are_no_endless_search(
    server: Server, here: str, previous: str | None
) -> None:
    server.make(*here)
    remember(
        server,
        "deploy a succeeded",
        "deploy b succeeded",
        "deploy a succeeded",
        "deploy c succeeded",
    )
    assert history.previous(server.app, "c") == previous


def test_a_release_is_not_its_own_previous_one(server: Server) -> None:
    server.make("a")
    remember(server, "deploy a succeeded", "deploy b succeeded", "deploy a succeeded")
    assert history.previous(server.app, "a") is None


def test_the_successor_is_what_was_last_deployed_over_a_release(server: Server) -> None:
    remember(
        server, "deploy a succeeded", "deploy b succeeded", "rollback a succeeded",
        "deploy x failed", "deploy c succeeded", "deploy d succeeded",
    )  # fmt: skip
    successors = {name: history.successor(server.app, name) for name in "abcdx"}
    assert successors == {"a": "c", "b": None, "c": "d", "d": None, "x": None}


def test_a_release_whose_folder_is_gone_is_none_to_roll_back_to(server: Server) -> None:
    server.make("a")
    server.remember(("deploy", "gone", "succeeded"), ("deploy", "a", "succeeded"))
    assert history.healthy(server.app) == ["a"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pruning_keeps_the_live_and_the_last_healthy(server: Server) -> None:
    server.make("a", "b", "c", "d", "broken")
    server.remember(
        *(("deploy", name, "succeeded") for name in "abcd"), ("deploy", "broken", "failed")
    )
    app = server.app
    (app.home / "releases/.e.new").mkdir()
    for age, digest in enumerate(("newer", "digest", "older")):
        app.incoming(digest).write_bytes(b"")
        os.utime(app.incoming(digest), (100 - age, 100 - age))
    history.prune(app, 2, {"a"}, "digest")
    assert names(app.home / "releases") == ["a", "c", "d"]
    assert names(app.configuration / "releases") == ["a.env", "c.env", "d.env"]
    assert names(app.home / "venvs") == ["for-a", "for-c", "for-d"]
    # A newer one waits for its own deploy.
    assert names(app.state / "incoming") == ["digest.tar.gz", "newer.tar.gz"]


def test_a_long_history_is_shortened_and_keeps_what_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST", 20)
    monkeypatch.setattr(history, "NEWEST", 5)
    server.make("a", "b", "c", "gone", "bad")
    lived = [
        ("deploy", "gone", "succeeded"), ("deploy", "a", "succeeded"), ("deploy", "b", "succeeded"),
        ("deploy", "c", "succeeded"), ("rollback", "b", "succeeded"),
        ("deploy", "c", "rolled back"), ("deploy", "a", "succeeded"),
    ]  # fmt: skip
    server.remember(*lived, *[("deploy", "bad", "failed")] * 30)
    app = server.app
    shutil.rmtree(app.release("gone").folder)

    def known() -> list[object]:
        return [
            history.healthy(app), history.previous(app, "a"), history.previous(app, "b"),
            [history.deployer(app.release(name)) for name in "abc"],
            [history.memory(app.release(name)) for name in "abc"],
        ]  # fmt: skip

    before = known()
    history.shorten(app)
    assert len(history.read(app)) == len(lived) - 2 + 5  # `gone` is, and a went live again
    assert known() == before


def test_archives_of_kept_releases_are_kept(server: Server) -> None:
    """`--data code=keep` releases the live one's again, after a rollback, too."""
    kept, gone, app = f"{identity.artifact('kept')}-1", "gone-1", server.app
    server.make(kept, gone)
    server.remember(("deploy", kept, "succeeded"), ("deploy", gone, "failed"))
    for digest in ("kept", "gone", "new"):
        app.incoming(digest).write_bytes(b"")
    history.prune(app, 1, set(), "new")
    assert names(app.state / "incoming") == ["kept.tar.gz", "new.tar.gz"]
    assert identity.archived(app.release(kept)) == "kept"
    assert identity.archived(app.release(f"{kept}.twin")) == "kept"
    assert identity.archived(app.release(gone)) is None


def test_who_brought_a_release_is_who_deployed_it_last(server: Server) -> None:
    for who in ("me at laptop", "a deploy key of links", None):
        history.record(server.app, what="deploy", release=f"{who}-1", result="succeeded", who=who)
    history.record(
        server.app, what="rollback", release="me at laptop-1", result="succeeded", who="x"
    )
    history.record(
        server.app, what="deploy", release="me at laptop-1", result="succeeded", who="ci"
    )
    assert (
        history.deployer(server.app.release("a deploy key of links-1")) == "a deploy key of links"
    )
    assert history.deployer(server.app.release("me at laptop-1")) == "ci"
    assert history.deployer(server.app.release("None-1")) == ""
    assert history.deployer(server.app.release("other")) == ""


@pytest.mark.parametrize("live", ["a", "unheard-of"])
def test_the_live_release_is_never_pruned_whatever_the_history_says(
    server: Server, live: str
) -> None:
    server.make("a", "b", "c", "unheard-of")
    server.remember(
        ("deploy", "a", "failed"), ("deploy", "b", "succeeded"), ("deploy", "c", "succeeded")
    )
    history.prune(server.app, 1, {live}, "digest")
    assert names(server.app.home / "releases") == sorted(["c", live])
    assert f"for-{live}" in names(server.app.home / "venvs")


@pytest.mark.parametrize("first", ["a", ".a.gone"])
def test_what_a_death_while_pruning_left_is_not_in_the_way_of_the_next(
    server: Server, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Meanwhile `a` was deployed again; a disk lists names in any order."""
    iterdir = Path.iterdir

    def listed(folder: Path) -> list[Path]:
        return sorted(iterdir(folder), key=lambda path: path.name != first)

    server.make("a", "b")
    (server.app.home / "releases/.a.gone/app").mkdir(parents=True)
    server.remember(("deploy", "b", "succeeded"))
    monkeypatch.setattr(Path, "iterdir", listed)
    history.prune(server.app, 1, {"b"}, "digest")
    assert names(server.app.home / "releases") == ["b"]


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
    (server.app.home / "venvs/for-a/.complete").write_text("")
    server.remember(("deploy", "b", "succeeded"))
    monkeypatch.setattr(untrusted, "delete", die)
    with pytest.raises(DiedError):
        history.prune(server.app, 1, {"b"}, "digest")
    monkeypatch.undo()
    assert not (
        server.app.release("a").folder
        if kind == "releases"
        else server.app.home / "venvs/for-a/.complete"
    ).exists()
    if kind == "releases":
        server.app.release("a").folder.mkdir()  # deployed again meanwhile
    history.prune(server.app, 1, {"b"}, "digest")
    assert names(server.app.home / "releases") == ["b"]
    assert names(server.app.home / "venvs") == ["for-b"]


def test_a_full_disk_does_not_stop_a_deploy_at_its_start(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prunes old releases, which could be what fills the disk."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onebox_release.host.durable.write", full)
    history.begin(server.app, {"what": "deploy", "release": "a"})
    assert history.begun(server.app, "a") is None
