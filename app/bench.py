"""Redirects and creates by number of workers, as JSON: `uv run python bench.py 1 2 3 5 > FILE`.

Needs `apt-get install postgresql wrk`. The server, with its PostgreSQL, runs on one core and the
load on another: what counts is requests per CPU-second, which other work on the machine disturbs
less than it does their rate.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from dev import environment, prepared
from tests.cluster import APP, Cluster
from tests.conftest import eventually, register, shorten

SECONDS = 10
CONNECTIONS = 16
SERVER, LOAD = "0", "1"  # cores
ADDRESS = "http://127.0.0.1:8099"
TICK = os.sysconf("SC_CLK_TCK")

CREATE = """
wrk.method = "POST"
wrk.body = '{"url": "https://example.org/"}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "%s"
"""


@contextmanager
def serving(cluster: Cluster, workers: int) -> Iterator[int]:
    """The app under Gunicorn, and its process id."""
    command = [
        "gunicorn",
        "-k",
        "uvicorn_worker.UvicornWorker",
        "-b",
        ADDRESS[7:],
        "links.main:app",
    ]
    with subprocess.Popen(
        ["taskset", "-c", SERVER, sys.executable, "-m", *command],
        env=environment(cluster, APP) | {"WEB_CONCURRENCY": str(workers), "DEVELOPMENT": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        eventually(lambda: len(family(process.pid)), lambda n: n == workers + 1)
        eventually(answers, bool)
        yield process.pid
        process.send_signal(signal.SIGTERM)


def answers() -> bool:
    """Whether the app does."""
    try:
        return httpx.get(f"{ADDRESS}/health/ready").is_success
    except httpx.TransportError:
        return False


def family(process: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [process, *map(int, children.split())]


def cpu(processes: list[int]) -> float:
    """CPU-seconds that processes have used."""
    used = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICK


def memory(processes: list[int]) -> int:
    """MiB, shared pages by share."""
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    return sum(int(re.findall(r"Pss:\s+(\d+)", text)[0]) for text in rollups) // 1024


def load(path: str, script: str = "") -> dict[str, float]:
    """Requests in all, and their times in milliseconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--latency", "-s", file.name]
        command = ["taskset", "-c", LOAD, "wrk", *options, ADDRESS + path]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    times = re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", printed)
    scale = {"us": 0.001, "ms": 1, "s": 1000}
    measured = {f"p{part}_ms": float(n) * scale[unit] for part, n, unit in times}
    errors = re.findall(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", printed)
    return measured | {
        "requests": int(re.findall(r"(\d+) requests in", printed)[0]),
        "failed": len(errors),
    }


def measured(process: int, cluster: Cluster, path: str, script: str = "") -> dict[str, float]:
    """A load's figures."""
    before = cpu(family(process)), cpu(cluster.processes())
    result = load(path, script)
    app, database = cpu(family(process)) - before[0], cpu(cluster.processes()) - before[1]
    return result | {
        "per_second": round(result["requests"] / SECONDS),
        "per_app_cpu_second": round(result["requests"] / app),
        "per_cpu_second": round(result["requests"] / (app + database)),
    }


def run(cluster: Cluster, workers: int) -> dict[str, Any]:
    """Both loads, with this number of workers."""
    with serving(cluster, workers) as process, httpx.Client(base_url=ADDRESS) as client:
        register(client, f"bench{time.monotonic_ns()}")
        code = shorten(client)["code"]
        load(f"/{code}")  # warms up: connections, prepared statements
        return {
            "workers": workers,
            "redirect": measured(process, cluster, f"/{code}"),
            "create": measured(
                process, cluster, "/links", CREATE % client.headers["authorization"]
            ),
            "memory_mib": memory(family(process)),
        }


def main(numbers: list[int]) -> None:
    """Print a JSON line for each number of workers."""
    with prepared() as cluster:
        for process in cluster.processes():
            command = ["taskset", "-acp", SERVER, str(process)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for workers in numbers:
            print(json.dumps(run(cluster, workers)), flush=True)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1, 2, 3, 5])
