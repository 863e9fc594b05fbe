"""System users: created where one is missing, and kept from logging in."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operations.difference import Difference, differences_of
from operations.users import User, Users, create
from tests.unit.hosts import commands, run, text

CONFINED = User("/nonexistent", "/usr/sbin/nologin", "/dev/null", ("a", "onebox-nologin"))
FREE = User("/var/lib/a", "/usr/sbin/nologin", "", ("a",))


def test_users_are_read_with_how_they_could_log_in() -> None:
    found = Users().process(run(Users().command(["root", "nobody-at-all"])))
    root = pwd.getpwnam("root")
    assert list(found) == ["root"]
    assert found["root"] == User(root.pw_dir, root.pw_shell, "", found["root"].groups)
    assert "root" in found["root"].groups
    assert Users().default() == {}


def test_nothing_is_done_where_all_exist_and_are_confined() -> None:
    existing = {"b": CONFINED, "a": CONFINED}
    assert commands(create, ["a", "b"], facts={Users: existing}) == []


def test_a_user_that_may_log_in_is_left_alone() -> None:
    assert commands(create, ["a"], login=True, facts={Users: {"a": FREE}}) == []


def test_missing_users_are_created_and_never_get_a_manager() -> None:
    sysusers, unmanaged = commands(create, ["a", "b"], facts={Users: {"a": CONFINED}})
    assert text(sysusers) == "systemd-sysusers"
    assert "systemctl mask --quiet user@$uid.service" in text(unmanaged)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"groups": ("a",)}, "is not in the group onebox-nologin"),
        ({"home": "/var/lib/a"}, "has home /var/lib/a and shell /usr/sbin/nologin"),
        ({"shell": "/bin/sh"}, "has home /nonexistent and shell /bin/sh"),
        ({"manager": ""}, "can have a systemd user manager"),
    ],
)
def test_each_way_to_log_in_is_reported_and_closed(change: dict[str, Any], how: str) -> None:
    [command] = commands(create, ["a"], facts={Users: {"a": replace(CONFINED, **change)}})
    assert differences_of(command) == (Difference("user a", how),)


def test_a_home_is_changed_though_the_user_runs_a_program(tmp_path: Path) -> None:
    """vipw gives the editor a copy of /etc/passwd; the line of the user alone is changed."""
    passwd = tmp_path / "passwd.edit"
    before = "aa:x:7:7:An app:/var/lib/aa:/bin/sh\na:x:8:8:The app a:/var/lib/a:/usr/sbin/nologin\n"
    passwd.write_text(before)
    existing = {"a": replace(CONFINED, home="/var/lib/a")}
    [command] = commands(create, ["a"], facts={Users: existing})
    vipw = tmp_path / "vipw"
    vipw.write_text(f'#!/bin/sh\nexec sh -c "$VISUAL {passwd}"\n')
    vipw.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", text(command)], env={"PATH": path}, check=True)
    assert passwd.read_text() == before.replace("/var/lib/a:/usr", "/nonexistent:/usr")
