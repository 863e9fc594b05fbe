"""Run wrk against a lab host, over HTTPS: as many requests as 16 connections can get answered.

Closed loop, so a latency is that of a saturated server. wrk has no option for the address of a
name: it runs with its own /etc/hosts.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

CONNECTIONS = 16
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
IN_PRIVATE = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'


@dataclass(frozen=True)
class Answers:
    """The figures of one run. Times are milliseconds."""

    requests: int
    failed: int
    p50: float
    p99: float
    printed: str


def run(address: str, url: str, seconds: int, core: int | None = None, lua: str = "") -> Answers:
    """Load a URL at the host's address; wrk runs on `core` of this machine if it is given."""
    with TemporaryDirectory() as folder:
        hosts, script = Path(folder, "hosts"), Path(folder, "script.lua")
        hosts.write_text(f"{address} {url.split('/')[2]}\n")
        script.write_text(lua)
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", f"-s{script}"]
        pin = ["taskset", "-c", str(core)] if core is not None else []
        command = ["unshare", "-m", "sh", "-c", IN_PRIVATE, "-", str(hosts), *pin, "wrk", *options]
        result = subprocess.run([*command, url], check=True, capture_output=True, text=True)
    return parsed(result.stdout)


def parsed(printed: str) -> Answers:
    """Return the figures of wrk's report."""
    times = {
        part: float(number) * MILLISECONDS[unit]
        for part, number, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", printed)
    }
    # Socket errors: connect 0, read 0, write 0, timeout 16
    errors = re.findall(r"(?:responses:|connect|read|write|timeout) (\d+)", printed)
    requests = re.search(r"(\d+) requests in", printed)
    return Answers(
        requests=int(requests[1]) if requests else 0,
        failed=sum(map(int, errors)),
        p50=times.get("50", 0.0),
        p99=times.get("99", 0.0),
        printed=printed,
    )
