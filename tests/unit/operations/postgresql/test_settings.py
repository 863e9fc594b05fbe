"""The cluster's settings: replaced without losing those that work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from operations.difference import Difference, differences_of
from operations.files import File, FileStates
from operations.postgresql.settings import Buffers, Settings, apply_settings, configure
from tasks.postgresql import shared_buffers
from tests.unit.hosts import commands, run, stdin, text

UNIT, INSTANCE = "pg.service", "15-main"
KEPT = "/var/lib/onebox/postgresql/15-main"
CONF = File("/etc/pg.conf", "a = 1\n")
EARLIER = File("/etc/pg.conf", "a = 0\n")


def configuring(**states: str) -> list[Any]:
    """Return the commands that install CONF where these files exist."""
    files = {CONF.path: states.get("conf"), f"{KEPT}.refused": states.get("refused")}
    facts = {FileStates: {path: state for path, state in files.items() if state}}
    return commands(configure, CONF, UNIT, INSTANCE, facts=facts)


def applying(**names: list[str]) -> list[Any]:
    """Return the commands that put settings into effect."""
    data = {"pending": [], "foreign": [], "overridden": [], **names}
    state = Settings().process([json.dumps(data)])
    return commands(apply_settings, UNIT, CONF, INSTANCE, facts={Settings: state})


def test_unchanged_settings_are_left_alone() -> None:
    assert configuring(conf=CONF.state) == []


def test_the_first_settings_replace_none() -> None:
    [write] = configuring()
    assert stdin(write) == CONF.content


def test_settings_that_a_cluster_started_with_are_kept_before_others_are_there() -> None:
    keep, write = configuring(conf=EARLIER.state)
    assert text(keep) == (
        f"rm -f {KEPT}.tried {KEPT}.refused; if systemctl is-active --quiet pg.service; then"
        f" [ -e {KEPT} ] || {{ cp -a /etc/pg.conf {KEPT}.new && sync {KEPT}.new"
        f" && mv -T {KEPT}.new {KEPT} && sync /var/lib/onebox/postgresql; }};"
        f" else rm -f {KEPT}; fi"
    )
    assert stdin(write) == CONF.content
    assert differences_of(write) == (Difference("/etc/pg.conf", "was edited"),)


def test_settings_that_were_refused_are_not_tried_by_each_deploy() -> None:
    first, *_ = configuring(conf=EARLIER.state, refused=CONF.state)
    assert text(first).startswith("! systemctl is-active --quiet pg.service || { echo ")
    assert f"rm {KEPT}.refused" in text(first)
    keep, _ = configuring(conf=EARLIER.state, refused=EARLIER.state)
    assert "cp -a" in text(keep)


def test_a_setting_of_ours_may_wait_for_a_restart_which_must_succeed() -> None:
    assert applying() == []
    [restart] = applying(pending=["shared_buffers"])
    assert text(restart).startswith("systemctl restart pg.service; tries=0; until ")
    assert f"[ $(sha256sum < /etc/pg.conf | cut -d' ' -f1) = {CONF.state.split()[2]} ]" in text(
        restart
    )
    assert differences_of(restart) == (Difference("pg.service", "runs with older settings"),)


@pytest.mark.parametrize("pending", [[], ["shared_buffers"]])
def test_a_setting_of_somebody_else_is_reported_and_restarts_nothing(
    pending: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert applying(foreign=["huge_pages"], pending=pending) == []
    assert "PostgreSQL needs a restart for huge_pages, which onebox did not set" in caplog.text


def test_a_setting_that_alter_system_overrides_is_reset() -> None:
    [reset] = applying(overridden=["listen_addresses"])
    assert "-c 'alter system reset listen_addresses' -c 'select pg_reload_conf()'" in text(reset)
    assert differences_of(reset) == (
        Difference("setting listen_addresses", "is overridden in postgresql.auto.conf"),
    )


def test_shared_buffers_are_read_where_there_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "onebox.conf"
    assert run(Buffers().command(str(path))) == [], "and no failure on a bare server"
    path.write_text("max_connections = 100\nshared_buffers = 128MB\n")
    assert Buffers().process(run(Buffers().command(str(path)))) == 128
    assert (Buffers().process([]), Buffers().default()) == (0, 0)


@pytest.mark.parametrize(
    ("setting", "kept", "memory", "taken"),
    [
        (None, 0, 480, 60),
        (None, 0, 100, 32),
        (None, 0, 2000, 250),
        (None, 0, 64_000, 1024),
        (None, 128, 64_000, 128),  # an older onebox's: another value would restart PostgreSQL
        (None, 128, 200, 32),  # more than half
        (None, 249, 2000, 249),  # as another kernel counts memory
        (None, 4000, 2000, 250),
        (64, 128, 2000, 64),
    ],
)
def test_shared_buffers_are_from_the_memory(
    setting: int | None, kept: int, memory: int, taken: int
) -> None:
    assert shared_buffers(setting, kept, memory) == taken


def test_a_host_without_a_cluster_has_nothing_to_apply() -> None:
    assert Settings().process(["null"]) == Settings().default()
