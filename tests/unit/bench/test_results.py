"""bench/results.py: fresh and stale results, and the line that `make check` prints."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench import results

CODE = '"""Text."""\n\nLIMIT = 1  # each\n'
Measure = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout whose results depend on a.py and b.conf."""
    (tmp_path / "a.py").write_text(CODE)
    (tmp_path / "b.conf").write_text("# text\n")
    (tmp_path / "c.py").write_text(CODE)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.setattr(results, "PROJECT", tmp_path)
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(results, "sources_of", lambda _: ("a.py", "b.conf"))
    results.digest.cache_clear()
    yield tmp_path
    results.digest.cache_clear()


@pytest.fixture
def change(project: Path) -> Measure:
    """Changes a file of the checkout."""

    def change(name: str, text: str) -> None:
        (project / name).write_text(text)
        results.digest.cache_clear()

    return change


def age(name: str, days: int) -> None:
    path = results.FOLDER / f"{name}.json"
    measured = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"measured": measured}))


def test_a_name_is_that_of_the_test_and_its_parameters() -> None:
    assert results.name_of("tests/soak/test_edge.py::test_no_request[12]") == "edge/no-request-12"
    node = "tests/soak/test_unattended.py::test_each_cause[a file: it's edited::x]"
    assert results.name_of(node) == "unattended/each-cause-a-file-it-s-edited-x"


@pytest.mark.usefixtures("project")
def test_a_result_keeps_its_figures_and_its_time() -> None:
    results.record("edge/flood", 61.6, seconds=[1, 2], failed=0)
    data = json.loads((results.FOLDER / "edge/flood.json").read_text())
    assert (data["seconds"], data["failed"], data["took_seconds"]) == ([1, 2], 0, 62)
    found = results.load("edge/flood")
    assert found
    assert (found.seconds, found.changed, found.days) == (62, (), 0)


@pytest.mark.parametrize(
    ("name", "text", "stale"),
    [
        ("a.py", CODE.replace("1", "2"), True),
        ("a.py", CODE + "\n\ndef more() -> None: ...\n", True),
        ("b.conf", "# other text\n", True),
        ("a.py", '"""Other text."""\n\n# for\nLIMIT = 1\n"""Unit of the field."""\n', False),
        ("c.py", "LIMIT = 3\n", False),
    ],
)
def test_a_result_is_stale_once_the_code_of_a_source_changes(
    change: Measure, name: str, text: str, *, stale: bool
) -> None:
    results.record("edge/flood", 1)
    assert results.is_fresh("edge/flood")
    change(name, text)
    assert results.is_fresh("edge/flood") is not stale


def test_a_moved_or_removed_file_of_a_folder_makes_a_result_stale(
    project: Path, change: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "sources_of", lambda _: ("folder",))
    results._listed.cache_clear()
    (project / "folder").mkdir()
    change("folder/a.py", CODE)
    change("folder2.py", CODE)
    results.record("edge/flood", 1)
    change("folder2.py", "")
    assert results.is_fresh("edge/flood")
    (project / "folder/a.py").rename(project / "folder/b.py")
    results.digest.cache_clear()
    results._listed.cache_clear()
    assert not results.is_fresh("edge/flood")
    results.record("edge/flood", 1)
    (project / "folder/b.py").unlink()
    results.digest.cache_clear()
    assert not results.is_fresh("edge/flood")


@pytest.mark.usefixtures("project")
def test_a_result_with_one_digest_over_all_sources_is_stale() -> None:
    results.record("edge/flood", 1)
    path = results.FOLDER / "edge/flood.json"
    older = json.loads(path.read_text()) | {"sources": "56d5542c33688fe4"}
    del older["took_seconds"]
    path.write_text(json.dumps(older))
    found = results.load("edge/flood")
    assert found
    assert found.seconds is None
    assert found.changed == ("unknown (kept without a digest for each source)",)


def test_a_check_prints_one_line(change: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(["edge/flood", "edge/stall", "hand/drift"], 1):
        results.record(name, 1)
        age(name, days=number)
    assert results.main([]) == 0
    assert capsys.readouterr().out == ""
    change("b.conf", "")
    results.record("edge/flood", 1)
    assert results.main([]) == 0
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    assert capsys.readouterr().out == (
        f"2 of 3 kept results were measured on other sources (oldest {day}):"
        " make soak runs them again, oldest first.\n"
    )


def test_the_list_has_age_and_changes_oldest_first(
    change: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    for days, name in [(1, "edge/flood"), (30, "hand/drift"), (9, "edge/new")]:
        results.record(name, 1)
        age(name, days)
    change("b.conf", "")
    results.record("edge/new", 1)
    change("a.py", "")
    assert results.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "hand/drift   30 days  a.py, b.conf",
        "edge/flood    1 days  a.py, b.conf",
        "edge/new      0 days  a.py",
    ]


def test_without_git_the_check_passes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results.record("edge/flood", 1)
    results.digest.cache_clear()
    results._listed.cache_clear()
    shutil.rmtree(project / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert results.main([]) == 0
    assert capsys.readouterr().out == (
        "Could not check bench/results/ for stale results: this is not a git checkout.\n"
    )
