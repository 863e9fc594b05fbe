"""A tree of configuration: checked whole, switched to by one rename, and drift is seen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from operations.tree import Live, place
from tests.unit.hosts import commands, run, stdin, text

FILES = {"nginx.conf": "include sites/*;\n", "sites/links.conf": "hidden ünïcödé\n"}


def placed(path: Path, files: dict[str, str] = FILES, check: str = "true {}") -> str:
    """Place a tree here, and return where it is."""
    [command] = commands(place, str(path), files, check, facts={Live: ""})
    run(command)
    [there] = run(Live().command(str(path)))
    return there


def test_the_link_leads_to_exactly_these_files(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    there = placed(path)
    assert path.readlink() == Path(there)
    for name, content in FILES.items():
        assert (path / name).read_text() == content
    assert {str(p.relative_to(there)) for p in Path(there).rglob("*") if p.is_file()} == {
        *FILES,
        ".sums",
    }


def test_a_tree_that_is_live_is_left_alone(tmp_path: Path) -> None:
    there = placed(tmp_path / "nginx")
    assert commands(place, str(tmp_path / "nginx"), FILES, "true", facts={Live: there}) == []


def test_the_order_of_the_files_is_no_change(tmp_path: Path) -> None:
    there = placed(tmp_path / "nginx")
    turned = dict(reversed(FILES.items()))
    assert commands(place, str(tmp_path / "nginx"), turned, "true", facts={Live: there}) == []


def test_a_new_tree_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    older = placed(path)
    newer = placed(path, {"nginx.conf": "newer\n"})
    assert newer != older
    assert (path / "nginx.conf").read_text() == "newer\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nginx", Path(newer).name]


@pytest.mark.parametrize(
    "drift",
    [
        lambda path: (path / "nginx.conf").write_text("changed"),
        lambda path: (path / "sites/other.conf").write_text("added"),
        lambda path: (path / "nginx.conf").unlink(),
        lambda path: (path / ".sums").unlink(),
        lambda path: path.unlink(),
    ],
    ids=["changed", "added", "removed", "unsummed", "unlinked"],
)
def test_drift_is_seen_and_mended(tmp_path: Path, drift: object) -> None:
    path = tmp_path / "nginx"
    there = placed(path)
    assert callable(drift)
    drift(path)
    assert run(Live().command(str(path))) == []
    assert placed(path) == there
    assert (path / "nginx.conf").read_text() == FILES["nginx.conf"]
    assert not (path / "sites/other.conf").exists()


def test_a_tree_that_its_check_refuses_never_becomes_live(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    there = placed(path)
    with pytest.raises(subprocess.CalledProcessError):
        placed(path, {"nginx.conf": "bad\n"}, check="grep -q include {}/nginx.conf")
    assert path.readlink() == Path(there)


def test_files_travel_on_standard_input_alone() -> None:
    [command] = commands(place, "/etc/onebox/nginx", FILES, "nginx -t", facts={Live: ""})
    assert json.loads(stdin(command)) == FILES
    assert "hidden" not in text(command) + repr(command)


def test_a_host_without_the_tree_has_none_live() -> None:
    assert Live().default() == ""
