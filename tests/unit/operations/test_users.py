"""System users: created where one is missing, and kept from logging in."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operations.difference import Difference, mended
from operations.users import Known, User, present
from tests.unit.hosts import commands, run, text

CONFINED = User("/nonexistent", "/usr/sbin/nologin", "/dev/null", ("a", "onebox-nologin"))
FREE = User("/var/lib/a", "/usr/sbin/nologin", "", ("a",))


def test_users_that_exist_are_told_with_how_they_could_log_in() -> None:
    found = Known().process(run(Known().command(["root", "nobody-at-all"])))
    root = pwd.getpwnam("root")
    assert list(found) == ["root"]
    assert found["root"] == User(root.pw_dir, root.pw_shell, "", found["root"].groups)
    assert "root" in found["root"].groups
    assert Known().default() == {}


def test_nothing_is_done_where_all_are_there_and_confined() -> None:
    known = {"b": CONFINED, "a": CONFINED}
    assert commands(present, ["a", "b"], facts={Known: known}) == []


def test_one_who_is_to_log_in_is_left_as_it_is() -> None:
    assert commands(present, ["a"], login=True, facts={Known: {"a": FREE}}) == []


def test_missing_users_are_created_and_never_get_a_manager() -> None:
    create, unmanaged = commands(present, ["a", "b"], facts={Known: {"a": CONFINED}})
    assert text(create) == "systemd-sysusers"
    assert "systemctl mask --quiet user@$uid.service" in text(unmanaged)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"groups": ("a",)}, "is not in the group onebox-nologin"),
        ({"home": "/var/lib/a"}, "has home /var/lib/a and shell /usr/sbin/nologin"),
        ({"shell": "/bin/sh"}, "has home /nonexistent and shell /bin/sh"),
        ({"manager": ""}, "could have a systemd manager of its own"),
    ],
)
def test_each_way_to_log_in_is_told_and_closed(change: dict[str, Any], told: str) -> None:
    [command] = commands(present, ["a"], facts={Known: {"a": replace(CONFINED, **change)}})
    assert mended(command) == (Difference("user a", told),)


def test_a_home_is_changed_though_the_user_runs_a_program(tmp_path: Path) -> None:
    """vipw gives the editor a copy of /etc/passwd; the line of the user alone is changed."""
    passwd = tmp_path / "passwd.edit"
    before = "aa:x:7:7:An app:/var/lib/aa:/bin/sh\na:x:8:8:The app a:/var/lib/a:/usr/sbin/nologin\n"
    passwd.write_text(before)
    known = {"a": replace(CONFINED, home="/var/lib/a")}
    [command] = commands(present, ["a"], facts={Known: known})
    vipw = tmp_path / "vipw"
    vipw.write_text(f'#!/bin/sh\nexec sh -c "$VISUAL {passwd}"\n')
    vipw.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", text(command)], env={"PATH": path}, check=True)
    assert passwd.read_text() == before.replace("/var/lib/a:/usr", "/nonexistent:/usr")
