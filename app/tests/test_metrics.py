"""Metrics: right with several workers, living and dead, and for nobody outside."""

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
from prometheus_client.mmap_dict import MmapedDict

from links import multiprocess
from tests.cluster import APP, Cluster
from tests.conftest import SECRET_KEY, eventually, register, shorten
from tests.test_clicks import children
from tests.test_server import gunicorn

FOLLOWED = 'http_request_seconds_count{method="GET",route="/{code}",status="307"}'


def value(client: httpx.Client, series: str) -> float:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    found = re.findall(re.escape(series) + r" ([\d.]+)", answer.text)
    return float(found[0]) if found else 0


def files(client: httpx.Client, process: int) -> list[str]:
    directory = multiprocess.DIRECTORY.parent / f"{multiprocess.PREFIX}{process}"
    client.get("/metrics")
    return sorted(file.name for file in directory.glob("*.db"))


def test_nobody_outside_sees_them(client: httpx.Client) -> None:
    for forwarded in ("203.0.113.1", ""):
        answer = client.get("/metrics", headers={"x-forwarded-for": forwarded})
        assert answer.status_code == 404
    assert client.get("/metrics").headers["content-type"].startswith("text/plain")


def test_routes_are_templates_and_methods_are_known_ones(user: httpx.Client) -> None:
    code = shorten(user)["code"]
    before = value(user, FOLLOWED)
    user.get("/" + code)
    user.request("PROPFIND", "/nothing/here")
    eventually(lambda: value(user, FOLLOWED), lambda n: n == before + 1)
    other = 'http_request_seconds_count{method="other",route="none",status="404"}'
    eventually(lambda: value(user, other), lambda n: n >= 1)
    text = user.get("/metrics").text
    assert code not in text
    assert "PROPFIND" not in text


def test_how_full_things_are(client: httpx.Client) -> None:
    assert value(client, "pool_connections_limit") > 0
    assert value(client, "event_loop_lag_seconds_count") >= 0
    assert "pool_connections_used" in client.get("/metrics").text


def test_all_workers_count_together_and_the_dead_are_remembered(
    cluster: Cluster, database: str
) -> None:
    environment = {"DATABASE_URL": cluster.url(APP, database), "SECRET_KEY": SECRET_KEY}
    with gunicorn(2, **environment) as (process, client):
        register(client)
        code = shorten(client)["code"]
        both = eventually(lambda: children(process.pid), lambda found: len(found) == 2)
        for _ in range(60):
            client.get("/" + code, headers={"connection": "close"})
        eventually(lambda: value(client, FOLLOWED), lambda n: n == 60)
        names = eventually(lambda: files(client, process.pid), lambda found: len(found) >= 6)
        assert {name for worker in both for name in names if str(worker) in name} == set(names)
        for worker in both:
            os.kill(worker, signal.SIGKILL)
        new = eventually(
            lambda: children(process.pid), lambda found: len(found) == 2 and not {*both} & {*found}
        )
        assert eventually(lambda: value(client, FOLLOWED), lambda n: n == 60) == 60
        for _ in range(5):
            client.get("/" + code, headers={"connection": "close"})
        eventually(lambda: value(client, FOLLOWED), lambda n: n == 65)
        left = files(client, process.pid)
        assert not [name for name in left for worker in both if f"_{worker}." in name]
        eventually(lambda: value(client, "pool_connections_limit"), lambda n: n == 2 * 7)
        assert new


def test_the_files_of_dead_servers_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    ours = tmp_path / f"{multiprocess.PREFIX}{os.getpid()}"
    theirs = tmp_path / f"{multiprocess.PREFIX}{gone.pid}"
    init = tmp_path / f"{multiprocess.PREFIX}1"
    for directory in (ours, theirs, init):
        directory.mkdir()
    multiprocess.tidy(ours)
    assert sorted(tmp_path.iterdir()) == sorted([ours, init])


def test_each_dead_worker_is_added_once(tmp_path: Path) -> None:
    for told in (b"3.0", b"6.0"):
        gone = subprocess.Popen(["true"])
        gone.wait()
        counter = MmapedDict(str(tmp_path / f"counter_{gone.pid}.db"))  # type: ignore[no-untyped-call]
        counter.write_value('["a_total", "a_total", {}, "Help."]', 3.0, 0.0)  # type: ignore[no-untyped-call]
        counter.close()  # type: ignore[no-untyped-call]
        (tmp_path / f"gauge_livesum_{gone.pid}.db").write_bytes(b"")
        for _ in range(2):
            assert b"\na_total " + told + b"\n" in multiprocess.exposition(tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_0.db", "lock"]
