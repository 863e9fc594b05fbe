"""`make soak-hand`: loads that the limits must allow, with an app's share of a 1 GiB server."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.machine import Machine
from tasks.resources import for_apps
from tests import wire
from tests.e2e.test_7_apps import BIND_LIMITS, ECHO, app_settings
from tests.keyholder import UV
from tests.lab_server import LONG, Server, local

SMALL = Machine(debian="12", cores=1, memory=1024, ipv6=True, ssh_ports=(22,))
HELD = "\nimport numpy\n\nHELD = numpy.ones(90 << 17)  # 90 MiB\n"
ROWS = 1_000_000
ROW = "x" * 1040  # with number and index slightly over 1 GiB
WRITE = f"import sys\nfor n in range({ROWS}): sys.stdout.write(f'{{n}}\\t{ROW}\\n')"
PSQL = "psql -X -v ON_ERROR_STOP=1 -h /run/postgresql -d one"


@pytest.fixture(scope="module")
def numpy(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """An app whose workers hold 90 MiB each in NumPy, with a database."""
    server = copy("12")
    server.run(BIND_LIMITS)
    folder: Path = tmp_path_factory.mktemp("apps") / "one"
    shutil.copytree(ECHO, folder, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    with (folder / "echo.py").open("a") as program:
        program.write(HELD)
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace("dependencies = [", 'dependencies = ["numpy", '))
    subprocess.run([UV, "lock", "--quiet"], cwd=folder, check=True)
    server.entry["apps"] = [
        app_settings(
            "one", folder, server, secrets=[], start_timeout=60,
            web={}, resources={"memory": for_apps(SMALL)},
        )
    ]  # fmt: skip
    server.deploy()
    return server


def ssh(server: Server, command: str) -> list[str]:
    """Return the ssh command that runs `command` on the server as root."""
    return ["ssh", "-F", str(server.host.ssh_config), server.host.name, command]


def run_long(server: Server, command: str) -> str:
    """Run a command that takes minutes; return its output."""
    result = local(ssh(server, command), LONG)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


def events(server: Server) -> str:
    """Return the OOM counters and the peak usage of the app's memory cgroup."""
    return server.run(
        "cat /sys/fs/cgroup/memory/onebox.slice/onebox-one.slice/memory.oom_control"
        " /sys/fs/cgroup/memory/onebox.slice/onebox-one.slice/memory.max_usage_in_bytes | xargs"
    )


def test_numpy_workers_of_90_mb_are_not_limited(numpy: Server, figures: dict[str, Any]) -> None:
    """Through five switches, during which two releases run."""
    domain = str(numpy.app["domains"][0])
    statuses, seconds = [], []
    for _ in range(5):
        switch = subprocess.Popen(
            ssh(numpy, "onebox-release restart one"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while switch.poll() is None:
            begin = time.monotonic()
            statuses.append(wire.get(numpy.host.address6, numpy, domain, "/").status_code)
            seconds.append(time.monotonic() - begin)
            time.sleep(0.02)
        assert switch.returncode == 0
    figures["share_mib"] = for_apps(SMALL)
    figures["workers"] = int(numpy.run("pgrep -u one -fc 'gunicorn'"))
    figures["requests"], figures["worst_seconds"] = len(statuses), round(max(seconds), 3)
    figures["memory"] = found = events(numpy)
    assert set(statuses) == {httpx.codes.OK}
    assert " oom_kill 0 " in f" {found} "
    assert numpy.run("systemctl show --value -p NRestarts 'one-web@*' | sort -rn | head -1") == "0"


def test_an_import_of_a_gigabyte_is_not_limited(numpy: Server, figures: dict[str, Any]) -> None:
    """By the app, in its sandbox; with an index, which PostgreSQL sorts in temporary files."""
    owner = f"runuser -u one-migrate -- {PSQL} -c"
    numpy.run(f"{owner} 'create table big (n int, t text); grant all on big to one'")
    copy = f"python3 -c {shlex.quote(WRITE)} | {PSQL} -c 'copy big from stdin'"
    begin = time.monotonic()
    run = f"onebox-release run one {shlex.quote(copy)}"
    assert run_long(numpy, run) == f"COPY {ROWS}"
    figures["copy_seconds"] = round(time.monotonic() - begin, 1)
    begin = time.monotonic()
    run_long(numpy, f"{owner} 'create index on big (n, t)'")
    figures["index_seconds"] = round(time.monotonic() - begin, 1)
    figures["table_bytes"] = int(
        numpy.run(f"{PSQL.replace('psql', 'runuser -u postgres -- psql -qAt')}"
                  " -c \"select pg_table_size('big')\"").splitlines()[-1]
    )  # fmt: skip
    assert figures["table_bytes"] > 2**30
    numpy.run(f"{owner} 'drop table big'")
    figures["memory"] = found = events(numpy)
    assert " oom_kill 0 " in f" {found} "
