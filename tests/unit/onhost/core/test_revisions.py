"""Alembic's revisions, read without running them."""

from __future__ import annotations

from pathlib import Path

import pytest
from onebox_release.core import revisions
from onebox_release.core.revisions import Read, Revision, Unknown, ancestors, incompatible, pending
from onebox_release.core.revisions import read as read_by
from onebox_release.errors import ReleaseError


def read(folder: Path, command: str | None = "alembic upgrade head") -> Read:
    return read_by(folder, command)


def why(folder: Path, command: str | None = "alembic upgrade head") -> str:
    """Return why a project's revisions are unknown."""
    found = read(folder, command)
    assert isinstance(found, Unknown)
    return found.why


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


def test_the_revisions_of_a_project_without_alembic_are_unknown(tmp_path: Path) -> None:
    assert why(tmp_path) == "there is no alembic.ini"
    assert why(tmp_path, None) == "there is no alembic.ini"


@pytest.mark.parametrize(
    "command",
    ["alembic upgrade head", "python -m alembic upgrade heads",
     "alembic -c alembic.ini upgrade head",
     None],
)  # fmt: skip
def test_alembics_upgrade_alone_is_understood(project: Path, command: str | None) -> None:
    write(project, 'revision = "b"\n')
    assert read(project, command) == {"b": Revision("b", (), compatible=False)}


@pytest.mark.parametrize(
    "command",
    [
        "alembic upgrade head && python seed.py", "alembic upgrade head; true", "./migrate.sh",
        "python manage.py migrate", "alembic -n other upgrade head", "alembic -x a=b upgrade head",
        "alembic upgrade +1", "alembic downgrade -1", "alembic stamp head",
        "X=1 alembic upgrade head",
        "alembic upgrade 'head", "alembic -c $X upgrade head", "alembic upgrade head | tee log",
    ],
)  # fmt: skip
def test_any_other_command_is_not(project: Path, command: str) -> None:
    write(project, 'revision = "b"\n')
    assert why(project, command).startswith(f"`migrate` is {command!r}, not `alembic upgrade head`")


@pytest.mark.parametrize("path", ["/etc/alembic.ini", "../alembic.ini"])
def test_no_file_outside_of_the_release_is_read(project: Path, path: str) -> None:
    assert "is outside the release's folder" in why(project, f"alembic -c {path} upgrade head")
    (project / "alembic.ini").write_text(f"[alembic]\nscript_location = {path}\n")
    assert "is outside the release's folder" in why(project)


def test_a_configuration_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "db/scripts/versions").mkdir(parents=True)
    (tmp_path / "db/alembic.ini").write_text("[alembic]\nscript_location = %(here)s/scripts\n")
    (tmp_path / "db/scripts/versions/a.py").write_text('revision = "a"\n')
    command = "alembic -c db/alembic.ini upgrade head"
    assert read(tmp_path, command) == {"a": Revision("a", (), compatible=False)}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("recursive_version_locations = true", "recursive_version_locations"),
        ("version_locations = %(here)s/a %(here)s/b", "version_locations"),
        ("version_table_schema = x", "version_table_schema"),
        ("version_table = x", "version_table"),
        ("sourceless = true", "sourceless"),
    ],
)
def test_options_that_move_revisions_are_not_understood(
    project: Path, line: str, named: str
) -> None:
    with (project / "alembic.ini").open("a") as file:
        file.write(f"{line}\n")
    assert why(project) == f"alembic.ini sets {named}; only its default is supported"


def test_options_at_their_defaults_are(project: Path) -> None:
    with (project / "alembic.ini").open("a") as file:
        file.write("recursive_version_locations = false\nversion_locations =\nsourceless = off\n")
    assert read(project) == {}


@pytest.mark.parametrize("name", ["version_table", "version_table_schema"])
def test_another_version_table_is_not_understood(project: Path, name: str) -> None:
    (project / "migrations/env.py").write_text(f"context.configure({name}='x')\n")
    assert "env.py names version_table or version_table_schema" in why(project)


def test_alembics_table_in_pyproject_is_not_understood(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.ruff]\n")
    assert read(project) == {}
    (project / "pyproject.toml").write_text("[tool.alembic]\nscript_location = 'x'\n")
    assert why(project).startswith("pyproject.toml has a [tool.alembic]")
    (project / "pyproject.toml").write_text("[")
    assert why(project) == "pyproject.toml is not valid TOML"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("VALUE = 1\n", 'one.py sets no revision = "..." at its top'),
        ("revision = name()\n", 'one.py sets no revision = "..." at its top'),
        ("if True:\n    revision = 'a'\n", 'one.py sets no revision = "..." at its top'),
        ("revision = 'a'\ndown_revision = name()\n", "one.py sets down_revision to something"),
        ("revision = 'a'\ndown_revision = 5\n", "one.py sets down_revision to something"),
        ("revision = 'a'\ndepends_on = ('b', 1)\n", "one.py sets depends_on to something"),
        ("revision = 'a'\ndepends_on = 'label'\n", "depends on label, which is not a revision"),
    ],
)
def test_a_revision_that_says_too_little_is_not_understood(
    project: Path, text: str, told: str
) -> None:
    """Alembic runs such files; passing over one would say that nothing is pending."""
    write(project, text)
    assert told in why(project)


def test_two_files_with_one_name_are_not_understood(project: Path) -> None:
    write(project, 'revision = "a"\n', "a.py")
    write(project, 'revision = "a"\n', "b.py")
    assert why(project) == "two files have the revision a"


@pytest.mark.parametrize("name", ["__init__.py", ".#a.py"])
def test_what_alembic_passes_over_is_none(project: Path, name: str) -> None:
    write(project, "VALUE = 1\n", name)
    assert read(project) == {}


def test_settings_that_expand_to_much_fill_no_memory(project: Path) -> None:
    levels = "".join(f"a{n} = {f'%(a{n + 1})s' * 50}\n" for n in range(9))
    (project / "alembic.ini").write_text(f"[alembic]\n{levels}a9 = x\nscript_location = %(a0)s\n")
    assert "is not a plain path" in why(project)


def test_messages_about_a_project_are_short_and_plain(project: Path) -> None:
    (project / "alembic.ini").write_text(f"[alembic]\nscript_location = :\x1b[2J{'x' * 9999}\n")
    assert "\x1b" not in why(project)
    assert len(why(project)) < 300


@pytest.mark.parametrize("text", ["(" * 5000, "x = " + "-" * 100_000 + "1"])
def test_code_that_is_nested_too_deep_is_an_error_in_words(project: Path, text: str) -> None:
    write(project, text)
    with pytest.raises(ReleaseError, match=r"The revision one\.py is not Python: "):
        read(project)


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
    for name in ("a", "c"):
        write(project, f"revision = {name!r}\n", f"{name}.py")
    found = read(project)
    assert not isinstance(found, Unknown)
    assert found["b"] == revision


def test_files_are_not_run(project: Path) -> None:
    write(project, 'raise SystemExit\nrevision = "a"\n')
    assert read(project) == {"a": Revision("a", (), compatible=False)}


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
    assert incompatible(own, LINE, applied) == way


def test_a_mark_speaks_of_the_release_right_before_alone() -> None:
    one, two = made("a"), made("a", "b a")
    assert incompatible(one, two, "ab") == []
    assert incompatible(one, two, "abc") == ["c"]  # a release after the successor brought c
    assert incompatible(one, {}, "ab") == ["b"]


@pytest.mark.parametrize("text", ["def upgrade(:\n", "<<<<<<< HEAD\n"])
def test_a_file_that_does_not_parse_is_an_error_in_words(project: Path, text: str) -> None:
    write(project, text)
    with pytest.raises(ReleaseError, match=r"The revision one\.py is not Python: "):
        read(project)


@pytest.mark.parametrize("text", ["script_location = here\n", "[alembic]\n[alembic]\n"])
def test_settings_that_do_not_parse_are_not_understood(project: Path, text: str) -> None:
    (project / "alembic.ini").write_text(text)
    assert why(project).startswith("alembic.ini can't be read: ")


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("links:migrations", "script_location = links:migrations is not a plain path"),
        ("%(x)s/migrations", "script_location = %(x)s/migrations is not a plain path"),
        ("%(here)s/typo", "there is no folder typo/versions"),
        ("", "alembic.ini has no script_location"),
    ],
)
def test_revisions_that_are_not_found_are_not_taken_for_none(
    tmp_path: Path, location: str, told: str
) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nscript_location = {location}\n")
    assert told in why(tmp_path)


def test_what_a_revision_depends_on_is_applied_with_it(project: Path) -> None:
    write(project, 'revision = "a"\n', "a.py")
    write(project, 'revision = "b"\ndown_revision = None\ndepends_on = "a"\n', "b.py")
    found = read(project)
    assert not isinstance(found, Unknown)
    assert pending(found, ["b"]) == []


def test_files_that_would_fill_the_memory_are_not_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, 'revision = "a"\n', "a.py")
    write(project, "#" * (2 << 20), "b.py")
    assert why(project) == "b.py is larger than 1 MiB"
    monkeypatch.setattr(revisions, "MOST", 1)
    assert why(project).startswith("there are more than 1 revisions")


@pytest.mark.parametrize("name", ["alembic.ini", "pyproject.toml"])
def test_settings_that_would_fill_the_memory_are_not_read(project: Path, name: str) -> None:
    (project / name).write_text("#" * (2 << 20))
    assert why(project) == f"{name} is larger than 1 MiB"
