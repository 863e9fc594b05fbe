"""An app from a git repository, with a repository of this machine's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from operations.artifact import pack
from settings.git import checkout
from tests.unit.inventories import a_vm, an_app, make_project, read, report

Refusal = Callable[..., str]
SOURCE = "apps[0].source"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/onebox/git"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    make_project(path / "api")
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path)
    git(path, "tag", "--annotate", "v1", "--message=One")
    return path


def git(path: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    command = ["git", "-C", str(path), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(path: Path) -> str:
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=A change")
    return git(path, "rev-parse", "HEAD")


def from_git(repository: Path, ref: str) -> str:
    return f"git+file://{repository}@{ref}#subdirectory=api"


def test_a_folder_is_left_alone() -> None:
    assert checkout("app") == "app"
    assert checkout(3) == 3


@pytest.mark.parametrize("ref", ["main", "v1"])
def test_a_branch_or_tag_is_what_it_leads_to_now(folder: Path, repository: Path, ref: str) -> None:
    [app] = read(folder, a_vm(an_app(source=from_git(repository, ref)))).apps
    assert app.source.parent.name == git(repository, "rev-parse", "HEAD")
    first = pack(app.source)
    assert first.digest == pack(repository / "api").digest
    (repository / "api/links/more.py").touch()
    after = commit(repository)
    [app] = read(folder, a_vm(an_app(source=from_git(repository, ref)))).apps
    assert (app.source.parent.name == after) == (ref == "main"), "a tag stays, a branch moves"


def test_a_commit_that_is_here_is_not_fetched_again(repository: Path, cache: Path) -> None:
    source = from_git(repository, git(repository, "rev-parse", "HEAD"))
    there = checkout(source)
    repository.rename(repository.with_name("away"))
    assert checkout(source) == there
    assert [path.name[0] for path in cache.glob("*/.*")] == []


def test_what_is_no_ref_is_refused(refusal: Refusal, repository: Path) -> None:
    message = report(
        SOURCE,
        "a branch, tag or full commit",
        "mian, which doesn't exist",
        "correct the part after the last @",
    )
    assert refusal(a_vm(an_app(source=from_git(repository, "mian")))) == message


def test_what_git_reports_is_reported(refusal: Refusal, tmp_path: Path) -> None:
    message = refusal(a_vm(an_app(source=from_git(tmp_path / "absent", "main"))))
    assert "expected: a repository that git can fetch" in message
    assert "does not appear to be a git repository" in message


@pytest.mark.parametrize(
    "source",
    [
        "git+https://example.com/links.git",
        "git+https://example.com/links.git@",
        "git+https://example.com/links.git@--upload-pack=id",
        "git+https://example.com/links.git@main#egg=links",
        "git+https://example.com/links.git@main#subdirectory=../..",
        "git+https://example.com/links.git@main?a=b",
        "git+ftp://example.com/links.git@main",
        "git+git@example.com:links.git@main",
        "git+ext::sh -c id@main",
    ],
)
def test_another_form_is_refused(refusal: Refusal, source: str) -> None:
    assert "a git URL with a branch, tag or full commit" in refusal(a_vm(an_app(source=source)))


@pytest.mark.parametrize("who", ["me:tok3n@", "tok3n@"])
def test_a_credential_in_the_url_is_refused_and_not_repeated(refusal: Refusal, who: str) -> None:
    message = refusal(a_vm(an_app(source=f"git+https://{who}example.com/links.git@main")))
    assert "a git URL without a password or token" in message
    assert "tok3n" not in message
