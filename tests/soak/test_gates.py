"""`make soak-unattended`: 30 nightly deploys, each gate broken, a job killed at ten points."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operations.artifact import pack
from tests.faults.probed import FREE, Probed
from tests.gated import PRODUCTION, fab, runner_for, variables
from tests.lab_server import PROJECT, Server
from tests.workflow import Runner

JOBS = ("check", "app", "host", "staging", "production")
NIGHTS, KILLS = 30, 10
A_MONTH_AHEAD = "faketime -f +30d"
MARK = "/run/marked"
# The database and the app's worker write at any time; requests are logged; monitoring stores its
# state each round.
WRITTEN = (
    f"find / -xdev -newer {MARK} -type f ! -path '/var/log/*' ! -path '/proc/*' ! -path '/sys/*'"
    " ! -path '/run/*' ! -path '/var/lib/postgresql/*' ! -path '/tmp/*'"
    " ! -path '/var/lib/onebox-checks/*' ! -path '/var/lib/onebox/*/temporary/*' | sort"
)
STARTED = (
    "systemctl show '*.service' -p Id -p NRestarts -p MainPID"
    " | grep -v -e user@ -e user-runtime -e '^$' | paste - - - | grep -v MainPID=0 | sort"
)
FAILING = "\n\ndef test_broken() -> None:\n    raise ValueError\n"
BREAKS = {
    "lint": ("check", "settings/server.py", "\nimport json\n", "F401"),
    "types": ("check", "settings/server.py", '\n\nWRONG: int = "text"\n', "settings/server.py:"),
    "unit": ("check", "tests/unit/settings/test_server.py", FAILING, "test_broken"),
    "the app": ("app", "app/tests/test_health.py", FAILING, "test_broken"),
    "end to end": (
        "host", "templates/etc/onebox/nginx/nginx.conf.j2", "\nno_such;\n", "no_such"
    ),
}  # fmt: skip
ONE_HOST = (
    "-x -k 'test_a_name_in_use_is_refused or test_the_first_deploy_serves_the_app_over_https'"
)


@pytest.fixture(scope="module")
def production(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe in production, deployed once and verified."""
    probed = Probed.on(copy("13"), tmp_path_factory.mktemp("unwatched"))
    probed.server.entry["environment"] = "production"
    probed.server.run(PRODUCTION)
    result = fab(probed.server, "deploy")
    assert result.returncode == 0, result.stdout + result.stderr
    return probed


def night(server: Server, clock: str = "") -> subprocess.CompletedProcess[str]:
    """Deploy like the nightly job, with this clock."""
    command = f"{clock} {sys.executable} -m fabric deploy"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=PROJECT,
        env={**os.environ, **variables(server)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_30_nights_change_nothing_and_one_changed_line_is_one_release(
    production: Probed, figures: dict[str, Any]
) -> None:
    server = production.server
    before, started, history = production.live(), server.run(STARTED), entries(server)
    server.run(f"touch {MARK}; sleep 1.1")
    seconds = []
    for _ in range(NIGHTS):
        begin = time.monotonic()
        result = night(server)
        seconds.append(round(time.monotonic() - begin, 1))
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        assert "- nothing was changed" in result.stdout
    written = server.run(WRITTEN).splitlines()
    assert server.run(STARTED) == started
    assert (production.live(), entries(server)) == (before, history)
    assert written == []
    production.change()
    result = night(server)
    changed = [line for line in result.stdout.splitlines() if line.startswith("- changed: ")]
    assert changed == ["- changed: Releases | Release probe"]
    assert len(entries(server)) == len(history) + 1
    figures |= {"nights": NIGHTS, "changes": 0, "restarts": 0, "written": 0, "seconds": seconds}


def test_a_job_whose_clock_is_wrong_is_refused(production: Probed, figures: dict[str, Any]) -> None:
    """Lab host and job share one clock, so the lab can't simulate a night for both; and a job whose
    clock is a month ahead judges certificates wrongly."""
    if not shutil.which("faketime"):
        pytest.fail("This test needs faketime: apt-get install faketime")
    before = entries(production.server)
    result = night(production.server, A_MONTH_AHEAD)
    output = result.stdout + result.stderr
    assert result.returncode == 4, output
    assert "correct this machine's clock" in output
    assert entries(production.server) == before
    figures["exit_code"] = result.returncode


def entries(server: Server) -> list[dict[str, Any]]:
    lines = server.run("cat /var/lib/onebox/probe/history.jsonl").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("gate", BREAKS)
def test_a_broken_gate_lets_nothing_through(
    production: Probed, tmp_path: Path, figures: dict[str, Any], gate: str
) -> None:
    job, file, more, message = BREAKS[gate]
    runner = runner_for(production.server, tmp_path)
    with (runner.folder / file).open("a") as text:
        text.write(more)
    before = production.live()
    assert failing_job(runner) == job, runner.output[-3000:]
    assert message in runner.output
    assert production.live() == before
    figures |= {"stopped_by": job, "told": message}


def failing_job(runner: Runner) -> str:
    """Run the jobs in order, with only a few tests on lab hosts; return the first that fails."""
    for name in JOBS:
        runner.environment["PYTEST_ADDOPTS"] = ONE_HOST if name == "host" else ""
        if runner.job(name):
            return name
    return "none"


def test_a_job_killed_at_ten_points_leaves_nothing_behind(
    production: Probed, chance: random.Random, figures: dict[str, Any]
) -> None:
    server, killed = production.server, []
    production.change()
    begin = time.monotonic()
    assert fab(server, "deploy").returncode == 0
    whole = time.monotonic() - begin
    for number in range(KILLS):
        production.change()
        moment = whole * (number + chance.random()) / KILLS
        job = subprocess.Popen(
            [sys.executable, "-m", "fabric", "deploy"],
            cwd=PROJECT,
            env={**os.environ, **variables(server)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moment)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        server.wait_for(FREE, 10)
        production.assert_settled()
        result = fab(server, "deploy", "--digest", pack(production.folder).digest)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        killed.append(round(moment, 1))
    figures |= {"whole_s": round(whole, 1), "killed_at_s": killed, "stranded": 0}
