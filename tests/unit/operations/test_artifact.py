"""An archive: the same bytes for the same files, wherever and however they lie."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from operations.artifact import Artifact, pack
from settings.contents import FOLDER, NOWHERE, OUTSIDE, PRIVATE, SPECIAL

KEPT = {"links/main.py": "app = None\n", "pyproject.toml": "[project]\n", "run.sh": "#!/bin/sh\n"}
CACHES = [".venv/bin/python", "links/__pycache__/main.pyc", ".env", ".ruff_cache/x"]


def lay(folder: Path, names: list[str]) -> Path:
    """Write the files that belong to an app, in a given order."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KEPT.get(name, "x"))
    (folder / "run.sh").chmod(0o755)
    return folder


def entries(artifact: Artifact) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(artifact.content), mode="r:gz") as archive:
        return archive.getmembers()


def names(artifact: Artifact) -> list[str]:
    return [entry.name for entry in entries(artifact)]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return lay(tmp_path / "app", list(KEPT))


def test_the_same_files_are_the_same_bytes(app: Path, tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        other = lay(tmp_path / "else/where", list(reversed(KEPT)))
    finally:
        os.umask(mask)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    (other / "run.sh").chmod(0o700)
    assert pack(other) == pack(app)


def test_the_digest_is_of_what_is_inside(app: Path) -> None:
    artifact = pack(app)
    assert artifact.digest == sha256(gzip.decompress(artifact.content)).hexdigest()
    assert repr(artifact) == f"Artifact({artifact.digest[:12]})"


def test_a_changed_byte_is_another_artifact(app: Path) -> None:
    before = pack(app).digest
    (app / "links/main.py").write_text("app = True\n")
    assert pack(app).digest != before


def test_a_renamed_file_is_another_artifact(app: Path) -> None:
    before = pack(app).digest
    (app / "links/main.py").rename(app / "links/web.py")
    assert pack(app).digest != before


def test_whether_a_file_is_executable_is_kept(app: Path) -> None:
    assert {entry.name: entry.mode for entry in entries(pack(app))} == {
        "links/main.py": 0o644,
        "pyproject.toml": 0o644,
        "run.sh": 0o755,
    }
    before = pack(app).digest
    (app / "run.sh").chmod(0o644)
    assert pack(app).digest != before


def test_nothing_of_the_packing_user_is_kept(app: Path) -> None:
    for entry in entries(pack(app)):
        assert (entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) == (
            0, 0, "root", "root", 0,
        )  # fmt: skip


def test_a_hard_link_and_a_symlink_are_files_like_any(app: Path) -> None:
    (app / "a.txt").write_text("x")
    (app / "b.txt").hardlink_to(app / "a.txt")
    (app / "c.txt").symlink_to("a.txt")
    linked = pack(app)
    for name in ("b.txt", "c.txt"):
        (app / name).unlink()
        shutil.copy(app / "a.txt", app / name)
    assert pack(app) == linked
    assert all(entry.isfile() for entry in entries(linked))


def test_without_git_caches_are_left_out(app: Path) -> None:
    lay(app, [*KEPT, *CACHES])
    assert names(pack(app)) == sorted(KEPT)


def test_with_git_what_it_ignores_is_left_out(app: Path) -> None:
    lay(app, [*KEPT, *CACHES, "secrets.env", "new.py", "gone.py"])
    (app / ".gitignore").write_text(".venv/\n__pycache__/\n.env\n.ruff_cache/\nsecrets.env\n")
    git(app, "init", "--quiet")
    git(app, "add", "gone.py", "run.sh")
    (app / "gone.py").unlink()
    assert names(pack(app)) == sorted([".gitignore", "new.py", *KEPT])


def test_an_app_in_a_folder_of_a_repository_is_packed_alone(app: Path) -> None:
    git(app.parent, "init", "--quiet")
    (app.parent / "inventory.py").write_text("hosts = []\n")
    assert names(pack(app)) == sorted(KEPT)


def test_git_or_no_git_is_the_same_artifact(app: Path) -> None:
    before = pack(app)
    git(app.parent, "init", "--quiet")
    assert pack(app) == before


def test_a_checkout_that_git_does_not_read_is_refused(tmp_path: Path) -> None:
    """Without git's word on what is ignored, secrets could be shipped."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "secrets.env").write_text("A=b")
    with pytest.raises(PyinfraError, match="git can't list the files"):
        pack(tmp_path)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert refusal(tmp_path) == refused(tmp_path, "link is a link to a folder: real", FOLDER)


def refusal(folder: Path) -> str:
    with pytest.raises(PyinfraError) as stopped:
        pack(folder)
    return str(stopped.value)


def refused(folder: Path, *messages: str) -> str:
    lines = "\n    fix: ".join(messages)
    return f"{folder} can't be packed; nothing was sent.\n  {lines}"


@pytest.fixture(params=["git", "no git"])
def lone(request: pytest.FixtureRequest, app: Path) -> Path:
    """An app with a file that nobody should get beside its folder; with git and without."""
    (app.parent / "private").mkdir()
    (app.parent / "private/token").write_text("hunter2")
    (app.parent / "private/token").chmod(0o600)
    if request.param == "git":
        git(app, "init", "--quiet")
    return app


@pytest.mark.parametrize(
    ("target", "through"),
    [
        ("/etc/passwd", None),
        ("../private/token", None),
        ("{app}/../private/token", None),
        ("links/../../private/token", None),
        ("links/step", "../../private/token"),  # a chain: this one is inside, its end is not
    ],
)
def test_a_link_out_of_the_folder_is_refused(lone: Path, target: str, through: str | None) -> None:
    to = target.format(app=lone)
    (lone / "a.txt").symlink_to(to)
    messages = [f"a.txt is a link out of the folder: {to}", OUTSIDE]
    if through:
        (lone / "links/step").symlink_to(through)
        messages[1] += f"\n  links/step is a link out of the folder: {through}\n    fix: {OUTSIDE}"
    assert refusal(lone) == refused(lone, *messages)


def test_a_link_to_a_folder_outside_is_refused(lone: Path) -> None:
    (lone / "files").symlink_to("../private")
    messages = "files is a link out of the folder: ../private"
    assert refusal(lone) == refused(lone, messages, OUTSIDE)


def test_a_file_behind_a_linked_folder_is_refused(app: Path) -> None:
    """git still lists a tracked file if a link has replaced its folder."""
    git(app, "init", "--quiet")
    git(app, "add", "links/main.py")
    (app / "links").rename(app.parent / "moved")
    (app / "links").symlink_to("../moved")
    messages = refusal(app)
    assert "links is a link out of the folder: ../moved" in messages
    assert "links/main.py is a link out of the folder: ../moved" in messages


def test_links_within_the_folder_work(lone: Path) -> None:
    targets = {"b.sh": "run.sh", "links/c.sh": "../b.sh", "d.sh": str(lone / "run.sh")}
    for name, target in targets.items():
        (lone / name).symlink_to(target)
    (lone / "build").mkdir()
    (lone / "build/front.js").write_text("x")
    (lone / ".gitignore").write_text("build/\n")
    (lone / "front.js").symlink_to("build/front.js")
    assert {"b.sh", "links/c.sh", "d.sh", "front.js"} < set(names(pack(lone)))


def test_an_app_whose_own_folder_is_a_link_is_packed(app: Path) -> None:
    (app.parent / "linked").symlink_to(app)
    assert pack(app.parent / "linked") == pack(app)


@pytest.mark.parametrize(("target", "how"), [("absent", "broken"), ("a.txt", "circular")])
def test_a_link_that_leads_to_nothing_is_refused(lone: Path, target: str, how: str) -> None:
    (lone / "a.txt").symlink_to(target)
    assert refusal(lone) == refused(lone, f"a.txt is a {how} link: {target}", NOWHERE)


def test_the_lock_of_a_file_that_is_being_edited_stays_behind(lone: Path) -> None:
    (lone / "links/.#main.py").symlink_to("me@laptop.4711:1790000000")
    assert names(pack(lone)) == sorted(KEPT)


SECRETS = [".env", ".env.local", "links/.env.production", "secrets.env", "secrets.staging.env"]


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("name", [*SECRETS, "id_ed25519", "deploy/ID_RSA", "a.p12", ".pgpass"])
def test_a_file_of_secrets_is_refused_whether_git_tracks_it_or_not(
    app: Path, *, name: str, tracked: bool
) -> None:
    git(app, "init", "--quiet")
    (app / name).parent.mkdir(exist_ok=True)
    (app / name).write_text("SECRET=hunter2\n")
    if tracked:
        git(app, "add", name)
    assert refusal(app) == refused(app, f"{name} has the name of a file with secrets", PRIVATE)


@pytest.mark.parametrize("name", SECRETS)
def test_without_git_a_file_of_variables_stays_behind(app: Path, name: str) -> None:
    (app / name).write_text("SECRET=hunter2\n")
    assert names(pack(app)) == sorted(KEPT)


@pytest.mark.parametrize("name", [".env.example", ".env.sample", ".env.template", "a.environment"])
def test_a_template_of_variables_is_packed(lone: Path, name: str) -> None:
    (lone / name).write_text("SECRET=\n")
    assert name in names(pack(lone))


def test_a_link_to_a_file_of_secrets_is_refused(lone: Path) -> None:
    (lone / ".gitignore").write_text(".env\n")
    (lone / ".env").write_text("SECRET=hunter2\n")
    (lone / "settings.txt").symlink_to(".env")
    messages = "settings.txt is a link to secrets: .env"
    assert refusal(lone) == refused(lone, messages, PRIVATE)


@pytest.mark.parametrize(
    "kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_with_a_private_key_is_refused(lone: Path, kind: str, end: str) -> None:
    (lone / "server.pem").write_bytes(f"# mine{end}-----BEGIN {kind}-----{end}MII{end}".encode())
    assert refusal(lone) == refused(lone, "server.pem contains a private key", PRIVATE)


def test_code_that_speaks_of_keys_is_packed(lone: Path) -> None:
    code = (
        'PRIVATE = "-----BEGIN PRIVATE KEY-----"\nPUBLIC = """\n-----BEGIN PUBLIC KEY-----\n"""\n'
    )
    (lone / "links/keys.py").write_text(code)
    assert "links/keys.py" in names(pack(lone))


def test_what_gitattributes_keeps_out_of_archives_stays_behind(app: Path) -> None:
    git(app, "init", "--quiet")
    (app / "tests").mkdir()
    (app / "tests/key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    assert "tests/key.pem contains a private key" in refusal(app)
    (app / ".gitattributes").write_text("tests export-ignore\n")
    assert names(pack(app)) == sorted([".gitattributes", *KEPT])
    (app / ".gitattributes").write_text("*.pem export-ignore\n")
    assert names(pack(app)) == sorted([".gitattributes", *KEPT])


def test_a_pipe_is_refused_and_not_waited_for(app: Path) -> None:
    os.mkfifo(app / "pipe")
    message = "pipe is not a regular file (a pipe, a socket or a device)"
    assert refusal(app) == refused(app, message, SPECIAL)


def test_a_link_to_a_pipe_is_refused(lone: Path) -> None:
    os.mkfifo(lone / "links/pipe")
    (lone / "a.txt").symlink_to("links/pipe")
    assert "a.txt is not a regular file (a pipe, a socket or a device)" in refusal(lone)


def test_a_link_that_replaces_a_file_meanwhile_is_not_followed(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of a file and its opening."""
    opened = os.open

    def swapped(path: Path, *arguments: int) -> int:
        if path.name == "run.sh":
            path.unlink()
            path.symlink_to("/etc/passwd")
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", swapped)
    assert "run.sh can't be read (Too many levels of symbolic links)" in refusal(app)


def test_every_file_that_is_refused_is_named_at_once(lone: Path) -> None:
    for i in range(3):
        (lone / f"{i}.txt").symlink_to("/etc/passwd")
    assert refusal(lone).count("/etc/passwd") == 3
