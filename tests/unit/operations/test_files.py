"""Files and folders: written only where they differ, private from birth, and atomic."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from operations.difference import Difference, differences_of
from operations.files import File, FileStates, Folder, create_once, install, make, write
from tests.unit.hosts import commands, run, stdin, text

FILE = File("/etc/links/secrets.env", "KEY=hidden\n", mode="600", owner="root:links")
FOLDER = Folder("/etc/links", mode="700")


def own(path: Path) -> str:
    return f"{path.owner()}:{path.group()}"


def test_states_are_read_by_path() -> None:
    assert FileStates().process(["600 root:root abc /etc/a file", "755 root:root - /etc"]) == {
        "/etc/a file": "600 root:root abc",
        "/etc": "755 root:root -",
    }
    assert FileStates().default() == {}


def test_states_are_read_of_files_folders_and_links(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("content\n")
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "a file")
    names = ("a file", "folder", "link", "absent", "$(touch oops)")
    paths = [str(tmp_path / name) for name in names]
    (tmp_path / "a file").chmod(0o640)
    assert FileStates().process(run(FileStates().command(paths))) == {
        paths[0]: f"640 {own(tmp_path)} {sha256(b'content' + bytes([10])).hexdigest()}",
        paths[1]: f"700 {own(tmp_path)} -",
        paths[2]: f"777 {own(tmp_path)} link",
    }
    assert FileStates().process(run(FileStates().command([]))) == {}


def test_installed_files_are_left_alone() -> None:
    facts = {FileStates: {FOLDER.path: FOLDER.state, FILE.path: FILE.state}}
    assert commands(install, [FOLDER, FILE], ["/etc/absent"], facts=facts) == []


@pytest.mark.parametrize(
    "state",
    [
        None,
        File(FILE.path, "KEY=older\n", mode="600", owner="root:links").state,
        Folder(FILE.path, mode="600", owner="root:links").state,
    ],
)
def test_a_file_that_differs_is_written(state: str | None) -> None:
    states = {FILE.path: state} if state else {}
    [command] = commands(install, [FILE], facts={FileStates: states})
    assert text(command) == text(write(FILE))


def test_entries_are_installed_in_their_order() -> None:
    folder, file = commands(install, [FOLDER, FILE], facts={FileStates: {}})
    assert text(folder) == "install -d -m 700 -o root -g root /etc/links"
    assert text(file).startswith("new=$(mktemp /etc/links/secrets.env.XXXXXX)")


def test_what_should_be_absent_is_removed() -> None:
    facts = {FileStates: {"/etc/a b": "644 root:root abc"}}
    [command] = commands(install, [], ["/etc/a b", "/etc/c"], facts=facts)
    assert text(command) == "rm -rf '/etc/a b'"


def test_what_an_older_onebox_left_is_converted_only_where_it_exists() -> None:
    converted = {"/usr/local/bin/old": "convert"}
    assert commands(install, entries=[], converted=converted, facts={FileStates: {}}) == []
    states = {"/usr/local/bin/old": "755 root:root abc"}
    [command] = commands(install, entries=[], converted=converted, facts={FileStates: states})
    assert text(command) == "convert"
    assert differences_of(command) == (Difference("/usr/local/bin/old", "is of an older onebox"),)


def test_a_file_is_written_beside_its_target_and_renamed_in() -> None:
    assert text(write(FILE)) == (
        "new=$(mktemp /etc/links/secrets.env.XXXXXX) && trap 'rm -f \"$new\"' EXIT"
        ' && cat > "$new" && chown root:links "$new" && chmod 600 "$new"'
        ' && sync "$new" && mv -T "$new" /etc/links/secrets.env'
    )


def test_content_is_sent_only_on_standard_input() -> None:
    command = write(FILE)
    assert stdin(command) == "KEY=hidden\n"
    for shown in (text(command), repr(command), repr(FILE), str(FILE)):
        assert "hidden" not in shown


def test_a_file_is_written_as_described(tmp_path: Path) -> None:
    file = File(str(tmp_path / "a file"), "ünïcödé\n$HOME\n", mode="640", owner=own(tmp_path))
    (tmp_path / "a file").write_text("older")
    run(write(file))
    assert FileStates().process(run(FileStates().command([file.path]))) == {file.path: file.state}
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_a_file_that_its_check_refuses_never_lands(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("good")
    file = File(str(path), "bad", owner=own(tmp_path), check="grep -q good {}")
    with pytest.raises(subprocess.CalledProcessError):
        run(write(file))
    assert path.read_text() == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_a_folder_is_created_or_repaired(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "a folder"), mode="750", owner=own(tmp_path))
    for _ in range(2):
        run(make(folder))
        assert FileStates().process(run(FileStates().command([folder.path]))) == {
            folder.path: folder.state
        }
        Path(folder.path).chmod(0o777)


def test_a_file_is_created_once_and_never_changed() -> None:
    path = "/etc/links/generated.env"
    [command] = commands(create_once, path, lambda: "KEY=hidden", facts={FileStates: {}})
    assert stdin(command) == "KEY=hidden"
    assert "chown root:root" in text(command)
    assert 'chmod 600 "$new"' in text(command)

    def never() -> str:
        raise AssertionError("made a second key")

    facts = {FileStates: {path: "600 root:root changed"}}
    assert commands(create_once, path, never, facts=facts) == []
    facts = {FileStates: {path: "644 root:root changed"}}
    [command] = commands(create_once, path, never, facts=facts)
    assert text(command) == f"chown root:root {path} && chmod 600 {path}"
    assert differences_of(command) == (Difference(path, "has mode 644, not 600"),)


@pytest.mark.parametrize(
    ("state", "how"),
    [
        (None, "is missing"),
        (FILE.state.replace("600", "644"), "has mode 644, not 600"),
        (FILE.state.replace("root:links", "root:root"), "has owner root:root, not root:links"),
        (
            "644 root:root abc",
            "has mode 644, not 600, has owner root:root, not root:links, was edited",
        ),
    ],
)
def test_differences_are_reported(state: str | None, how: str) -> None:
    states = {FILE.path: state} if state else {}
    [command] = commands(install, [FILE], facts={FileStates: states})
    assert differences_of(command) == (Difference(FILE.path, how),)


def test_a_file_with_the_right_content_keeps_its_time() -> None:
    states = {FILE.path: FILE.state.replace("600", "644")}
    [command] = commands(install, [FILE], facts={FileStates: states})
    path = FILE.path
    assert text(command) == f"chown root:links {path} && chmod 600 {path}"


def test_what_a_folder_of_ours_does_not_hold_is_removed() -> None:
    folder = Folder("/etc/links", allowed=("releases", "*.env"))
    names = ("secrets.env", "releases", "generated.env", "notes", ".hidden", "deeper/notes")
    states = {f"/etc/links/{name}": "644 root:root abc" for name in names}
    states |= {folder.path: folder.state, FILE.path: FILE.state, "/etc/notes": "644 root:root a"}
    found = commands(install, [folder, FILE], facts={FileStates: states})
    assert [text(command) for command in found] == [
        "rm -rf /etc/links/notes", "rm -rf /etc/links/.hidden",
    ]  # fmt: skip
    assert differences_of(found[0]) == (Difference("/etc/links/notes", "is extra"),)


def test_everything_in_a_folder_is_found(tmp_path: Path) -> None:
    for name in ("plain", ".hidden", "a b"):
        (tmp_path / name).touch()
    found = FileStates().process(run(FileStates().command([], [str(tmp_path)])))
    assert {Path(path).name for path in found} == {"plain", ".hidden", "a b"}
