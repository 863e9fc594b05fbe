"""bench/dependencies.py: every source exists, and every entry is for a result."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench import results
from bench.dependencies import DEPLOY, SOURCES, sources_of
from bench.soak import PROGRAMS

SOAKS = sorted((results.PROJECT / "tests/soak").glob("test_*.py"))


def names_in(path: Path) -> list[str]:
    """The names of a file's results, without parameters."""
    return [
        results.name_of(f"{path}::{node.name}")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.mark.parametrize("start", ["", *SOURCES])
def test_every_source_exists(start: str) -> None:
    for source in SOURCES.get(start, DEPLOY):
        assert (results.PROJECT / source).exists(), source


@pytest.mark.parametrize("start", SOURCES)
def test_every_entry_is_for_a_test_or_a_program(start: str) -> None:
    names = [*PROGRAMS, *(name for path in SOAKS for name in names_in(path))]
    assert any(name.startswith(start) for name in names)


def test_every_folder_of_results_has_an_entry() -> None:
    folders = {path.name for path in results.FOLDER.iterdir() if path.is_dir()}
    assert folders <= {start.partition("/")[0] for start in SOURCES}


def test_the_longest_entry_holds_and_else_all_of_a_deploy() -> None:
    assert "operations/postgresql.py" not in sources_of("edge/stalled-uploads-fill-no-disk")
    assert "tasks/nginx.py" in sources_of("edge/stalled-uploads-fill-no-disk")
    assert "templates/etc/onebox/logrotate.conf.j2" in sources_of("edge/long-headers-fill-no-disk")
    assert "app/links" not in sources_of("apps/private-packages")
    assert sources_of("unheard-of/test") == DEPLOY


@pytest.mark.parametrize("name", ["serving/tutorials", "app/soak"])
def test_a_result_of_the_app_depends_on_the_app(name: str) -> None:
    assert "app/links" in sources_of(name)
