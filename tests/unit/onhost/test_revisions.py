"""Alembic's revisions, read without running them."""

from __future__ import annotations

from pathlib import Path

import pytest
from onebox_release.revisions import Revision, ancestors, pending, read, unreadable


def made(*revisions: str) -> dict[str, Revision]:
    """Return revisions from such as "c a,b !": name, parents, and ! where it is not marked."""
    found = {}
    for text in revisions:
        name, *rest = text.split()
        parents = tuple(rest[0].split(",")) if rest and rest[0] != "!" else ()
        found[name] = Revision(name, parents, compatible="!" not in rest)
    return found


LINE = made("a", "b a", "c b !")
MERGED = made("a", "b a", "c a", "d b,c")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    (tmp_path / "migrations/versions").mkdir(parents=True)
    return tmp_path


def write(project: Path, text: str, name: str = "one.py") -> None:
    (project / "migrations/versions" / name).write_text(text)


def test_a_project_without_alembic_has_no_revisions(tmp_path: Path) -> None:
    assert read(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ('revision = "b"\ndown_revision = "a"\n', Revision("b", ("a",), compatible=False)),
        (
            'revision: str = "b"\ndown_revision: str | None = "a"\nonebox_compatible: bool = True',
            Revision("b", ("a",), compatible=True),
        ),
        (
            'revision = "b"\ndown_revision = ("a", "c")\nonebox_compatible = True\n',
            Revision("b", ("a", "c"), compatible=True),
        ),
        (
            'revision = "b"\ndown_revision = None\nonebox_compatible = 1\n',
            Revision("b", (), compatible=False),
        ),
        (
            'revision = "b"\ndown_revision = None\nonebox_compatible = all([])\n',
            Revision("b", (), compatible=False),
        ),
        ('revision = "b"\nx = y = 1\nz: int\nimport os\n', Revision("b", (), compatible=False)),
    ],
)
def test_a_revision_is_read_as_alembic_writes_it(
    project: Path, text: str, revision: Revision
) -> None:
    write(project, text)
    assert read(project) == {"b": revision}


def test_files_are_not_run(project: Path) -> None:
    write(project, 'raise SystemExit\nrevision = "a"\n')
    assert read(project) == {"a": Revision("a", (), compatible=False)}


def test_a_helper_beside_the_revisions_is_none(project: Path) -> None:
    write(project, "VALUE = 1\n")
    assert read(project) == {}


def test_the_folder_of_revisions_may_be_relative(tmp_path: Path) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = db\n")
    (tmp_path / "db/versions").mkdir(parents=True)
    (tmp_path / "db/versions/a.py").write_text('revision = "a"\n')
    assert read(tmp_path) == {"a": Revision("a", (), compatible=False)}


def test_ancestors_go_through_merges_and_leave_unknown_names_out() -> None:
    assert ancestors(MERGED, ["d"]) == {"a", "b", "c", "d"}
    assert ancestors(MERGED, ["b", "unknown"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("heads", "names"),
    [([], "abcd"), (["a"], "bcd"), (["b"], "cd"), (["b", "c"], "d"), (["d"], ""), (["x"], "abcd")],
)
def test_pending_is_what_the_database_lacks(heads: list[str], names: str) -> None:
    assert "".join(revision.name for revision in pending(MERGED, heads)) == names


@pytest.mark.parametrize(
    ("own", "heads", "ahead"),
    [
        (made("a", "b a", "c b !"), ["c"], []),
        (made("a"), ["b"], []),
        (made("a", "b a"), ["c"], ["c"]),
        (made("a"), ["c"], ["c"]),
        (made("a"), ["unknown"], ["unknown"]),
        (made("a"), [], []),
        ({}, ["b"], []),
    ],
)
def test_only_marked_revisions_may_be_ahead_of_a_release(
    own: dict[str, Revision], heads: list[str], ahead: list[str]
) -> None:
    assert unreadable(own, heads, LINE) == ahead


@pytest.mark.xfail(strict=True, reason="SyntaxError passes every handler: a traceback")
@pytest.mark.parametrize("text", ["def upgrade(:\n", "<<<<<<< HEAD\n"])
def test_a_file_that_does_not_parse_is_an_error_in_words(project: Path, text: str) -> None:
    from onebox_release.errors import ReleaseError

    write(project, text)
    with pytest.raises(ReleaseError, match=r"one\.py"):
        read(project)


@pytest.mark.xfail(
    strict=True, reason="no versions folder reads as no revisions: nothing is migrated, silently"
)
@pytest.mark.parametrize("location", ["links:migrations", "%(here)s/typo"])
def test_revisions_that_are_not_found_are_not_taken_for_none(tmp_path: Path, location: str) -> None:
    from onebox_release.errors import ReleaseError

    (tmp_path / "alembic.ini").write_text(f"[alembic]\nscript_location = {location}\n")
    try:
        found = read(tmp_path)
    except ReleaseError:
        return
    assert found is None


@pytest.mark.xfail(strict=True, reason="alembic drops a row that a later revision depends on")
def test_what_a_revision_depends_on_is_applied_with_it(project: Path) -> None:
    write(project, 'revision = "a"\n', "a.py")
    write(project, 'revision = "b"\ndown_revision = None\ndepends_on = "a"\n', "b.py")
    assert pending(read(project) or {}, ["b"]) == []
