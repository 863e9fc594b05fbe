"""A tree of files: checked as a whole, switched to by one rename, with drift reported."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from operations.difference import differences_of
from operations.tree import TreeStates, install
from tests.unit.hosts import commands, run, stdin, text

# Installed files belong to the user who runs the test, and should belong to root.
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="for root")
FILES = {"nginx.conf": "include sites/*;\n", "sites/links.conf": "hidden ünïcödé\n"}


def installed(path: Path, files: dict[str, str] = FILES, check: str = "true {}") -> str:
    """Install a tree here, and return its folder."""
    [command] = commands(install, str(path), files, check, facts={TreeStates: {}})
    run(command)
    return str(path.readlink())


def live(path: Path) -> dict[str, str]:
    return TreeStates().process(run(TreeStates().command(str(path))))


def differences(path: Path) -> list[str]:
    """Return what differs from the expected tree, in words."""
    steps = commands(install, str(path), FILES, "true", facts={TreeStates: live(path)})
    found = (difference for command in steps for difference in differences_of(command))
    return [f"{each.what.removeprefix(str(path))} {each.how}" for each in found]


def test_the_link_leads_to_exactly_these_files(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    target = installed(path)
    assert path.readlink() == Path(target)
    for name, content in FILES.items():
        assert (path / name).read_text() == content
    assert {str(p.relative_to(target)) for p in Path(target).rglob("*") if p.is_file()} == {*FILES}


@AS_ROOT
def test_a_tree_that_is_live_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    installed(path)
    facts = {TreeStates: live(path)}
    assert commands(install, str(path), FILES, "true", facts=facts) == []
    assert commands(install, str(path), dict(reversed(FILES.items())), "true", facts=facts) == []


def test_a_new_tree_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    older = installed(path)
    newer = installed(path, {"nginx.conf": "newer\n"})
    assert newer != older
    assert (path / "nginx.conf").read_text() == "newer\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nginx", Path(newer).name]


@AS_ROOT
@pytest.mark.parametrize(
    ("drift", "words"),
    [
        (lambda path: (path / "nginx.conf").write_text("x"), ["/nginx.conf was edited"]),
        (lambda path: (path / "sites/x.conf").write_text("x"), ["/sites/x.conf is extra"]),
        (lambda path: (path / "sites/x.conf").symlink_to("/x"), ["/sites/x.conf is extra"]),
        (lambda path: (path / "nginx.conf").unlink(), ["/nginx.conf is missing"]),
        (
            lambda path: (path / "nginx.conf").chmod(0o666),
            ["/nginx.conf has mode 666, not 644"],
        ),
        (
            lambda path: path.unlink(),
            ["/nginx.conf is missing", "/sites/links.conf is missing"],
        ),
    ],
    ids=["changed", "added", "linked", "removed", "writable", "unlinked"],
)
def test_drift_is_reported_and_repaired(tmp_path: Path, drift: object, words: list[str]) -> None:
    path = tmp_path / "nginx"
    target = installed(path)
    assert callable(drift)
    drift(path)
    assert differences(path) == words
    assert installed(path) != target
    assert differences(path) == []


def test_a_tree_that_its_check_refuses_never_becomes_live(tmp_path: Path) -> None:
    path = tmp_path / "nginx"
    target = installed(path)
    with pytest.raises(subprocess.CalledProcessError):
        installed(path, {"nginx.conf": "bad\n"}, check="grep -q include {}/nginx.conf")
    assert path.readlink() == Path(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nginx", Path(target).name]


def test_files_are_sent_only_on_standard_input() -> None:
    [command] = commands(install, "/etc/onebox/nginx", FILES, "nginx -t", facts={TreeStates: {}})
    assert json.loads(stdin(command)) == FILES
    assert "hidden" not in text(command) + repr(command)


def test_a_host_without_the_tree_has_none_live() -> None:
    assert TreeStates().default() == {}
