"""What is read from a cluster."""

from __future__ import annotations

import json

from operations.postgresql.facts import Cluster, Disk
from operations.postgresql.psql import PSQL
from operations.postgresql.states import ClusterState, Content, DatabaseState, RoleState
from tests.unit.operations.postgresql.clusters import LINKS, VARIABLES


def test_a_cluster_is_read_line_by_line() -> None:
    roles = {
        "links": {
            "attributes": ["SUPERUSER"], "connections": 92, "has_password": False,
            "settings": ["a=1"], "is_member": True,
        }
    }  # fmt: skip
    databases = {"links": {"owner": "o", "is_open": True, "connect": ["links"], "temporary": []}}
    content = {"default_privileges": {"r": ["SELECT"]}, "other_owners": ["old"]}
    state = Cluster().process([*map(json.dumps, [roles, databases, content, None])])
    assert state == ClusterState(
        {"links": RoleState(("SUPERUSER",), 92, settings=("a=1",), is_member=True)},
        {"links": DatabaseState("o", connect=("links",))},
        (Content({"r": ["SELECT"]}, ("old",)), Content()),
    )


def test_a_cluster_that_does_not_answer_has_nothing() -> None:
    assert Cluster().process(["null", "null", "null"]) == ClusterState(contents=(Content(),))
    assert Cluster().default() == ClusterState()


def test_a_cluster_is_queried_once_for_all() -> None:
    command = Cluster().command([LINKS])
    assert command.count(PSQL) == 3
    assert "\n" not in command
    assert f"{PSQL} {VARIABLES} -d links" in command


def test_what_an_app_set_or_locked_does_not_affect_psql() -> None:
    for option in ("search_path=pg_catalog", "role=none", "lock_timeout=5s",
                   "default_transaction_read_only=off"):  # fmt: skip
        assert f"-c {option}" in PSQL
    assert "timeout -k 5 130 psql" in PSQL


def test_the_disks_size_is_read() -> None:
    assert Disk().process(["  1M-blocks", " 9876"]) == 9876
    assert Disk().default() == 0
