"""Alembic's revisions, read without running them."""

from __future__ import annotations

from pathlib import Path

import pytest
from onebox_release.errors import ReleaseError
from onebox_release.revisions import Revision, ancestors, in_the_way, pending, read


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
    ("own", "applied", "way"),
    [
        (LINE, "abc", []),
        (made("a"), "ab", []),
        (made("a", "b a"), "abc", ["c"]),
        (made("a"), "abc", ["c"]),
        (made("a"), ["unknown", "a"], ["unknown"]),
        (made("a"), "", []),
        ({}, "ab", []),
        ({}, "cx", ["c", "x"]),
    ],
)
def test_only_marked_revisions_do_not_stand_in_a_releases_way(
    own: dict[str, Revision], applied: str, way: list[str]
) -> None:
    assert in_the_way(own, LINE, applied) == way


def test_a_mark_speaks_of_the_release_right_before_alone() -> None:
    one, two = made("a"), made("a", "b a")
    assert in_the_way(one, two, "ab") == []
    assert in_the_way(one, two, "abc") == ["c"]  # a release after the successor brought c
    assert in_the_way(one, {}, "ab") == ["b"]


@pytest.mark.parametrize("text", ["def upgrade(:\n", "<<<<<<< HEAD\n"])
def test_a_file_that_does_not_parse_is_an_error_in_words(project: Path, text: str) -> None:
    write(project, text)
    with pytest.raises(ReleaseError, match=r"The revision one\.py is not Python: "):
        read(project)


@pytest.mark.parametrize("text", ["script_location = here\n", "[alembic]\nscript_location = %(x\n"])
def test_settings_that_do_not_parse_are_an_error_in_words(project: Path, text: str) -> None:
    (project / "alembic.ini").write_text(text)
    with pytest.raises(ReleaseError, match=r"alembic\.ini can't be read: "):
        read(project)


@pytest.mark.parametrize("location", ["links:migrations", "%(here)s/typo"])
def test_revisions_that_are_not_found_are_not_taken_for_none(tmp_path: Path, location: str) -> None:
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nscript_location = {location}\n")
    assert read(tmp_path) is None


def test_settings_without_a_folder_of_revisions_have_none(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "alembic.ini").write_text("[alembic]\n")
    assert read(tmp_path) is None


def test_what_a_revision_depends_on_is_applied_with_it(project: Path) -> None:
    write(project, 'revision = "a"\n', "a.py")
    write(project, 'revision = "b"\ndown_revision = None\ndepends_on = "a"\n', "b.py")
    found = read(project)
    assert found is not None
    assert pending(found, ["b"]) == []
