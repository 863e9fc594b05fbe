"""Compare the sample app as onebox serves it with the same app in the tutorials' set-up.

One lab host, deployed by onebox, with the tutorials' set-up beside onebox's and the steps between
the two. The set-ups run one at a time, in turns, so that the machine's noise affects all alike.
Database, rows, TLS settings and nginx are the same for all; each `Setup` holds the differences.
Nothing here caches responses.

CPU is that of all processes of the host: nginx, workers, PostgreSQL and the rest. Memory is the PSS
of the web processes. The queue's worker is off, or it would run its jobs during a measurement.

    python -m bench.serving             needs root, and wrk (apt-get install wrk)
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import plots, results, wrk
from lab import cgroup
from lab.layout import this_lab
from tests.lab_server import Server, lab

SECONDS = 6  # of each load
ACCOUNT = {"name": "bench", "password": "correct horse battery"}
CODE = "measured"
TICK = os.sysconf("SC_CLK_TCK")
UVICORN = "-k uvicorn.workers.UvicornWorker"
TCP, UNIX = "-b 127.0.0.1:8000", "-b unix:/run/bench/app.sock --umask 0"
OURS = "-c {release}/gunicorn.conf.py"

UNIT = """
[Service]
User=links
WorkingDirectory={release}/app
EnvironmentFile=/etc/links/releases/{id}.env
EnvironmentFile=/etc/links/generated.env
Environment=WEB_CONCURRENCY={workers}
PrivateTmp=yes
RuntimeDirectory=bench
ExecStart={release}/venv/bin/python -m gunicorn {arguments} links.main:app
"""

SITE = """
upstream bench {{ server {server}; {upstream} }}
server {{
    listen 443 ssl;
    server_name bench.test;
    {certificate}
    {site}
    location / {{
        proxy_pass http://bench;
        {location}
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
"""

CREATE = """
wrk.method = "POST"
wrk.body = '{"url": "https://example.org/"}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "%s"
"""


@dataclass(frozen=True)
class Setup:
    """A way to serve: Gunicorn's arguments, and nginx directives beyond the tutorials'."""

    name: str
    arguments: str = ""  # empty: onebox's own unit and site, as deployed
    workers: int = 0
    upstream: str = ""
    site: str = ""
    location: str = ""


@dataclass
class Runs:
    """The figures of one set-up, one value a round."""

    redirects: list[float] = field(default_factory=list)
    """per CPU-second"""
    creates: list[float] = field(default_factory=list)
    """per CPU-second"""
    redirects_per_second: list[float] = field(default_factory=list)
    creates_per_second: list[float] = field(default_factory=list)
    redirect_p50: list[float] = field(default_factory=list)
    redirect_p99: list[float] = field(default_factory=list)
    create_p50: list[float] = field(default_factory=list)
    create_p99: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """MiB"""
    start: list[float] = field(default_factory=list)
    """CPU-seconds until all workers have started"""
    microseconds: list[dict[str, float]] = field(default_factory=list)
    """of a redirect, by process"""
    failed: int = 0


def between(workers: int) -> list[Setup]:
    """The tutorials' set-up, onebox's with so many workers, and the steps between."""
    fewer = f"-w {workers} {UVICORN} {UNIX}"
    kept = "keepalive 16;"
    reused = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    return [
        Setup("tutorials", f"-w 5 {UVICORN} {TCP}", 5),
        Setup("onebox"),
        Setup("tutorials, asyncio and h11", f"-w 5 -k uvicorn.workers.UvicornH11Worker {TCP}", 5),
        Setup("+ unix socket", f"-w 5 {UVICORN} {UNIX}", 5),
        Setup(f"+ {workers} workers", fewer, workers),
        Setup("+ onebox's Gunicorn file", f"{OURS} -w {workers} {UNIX}", workers),
        Setup("not kept: nginx without access log", fewer, workers, site="access_log off;"),
        Setup("not kept: upstream keep-alive", fewer, workers, upstream=kept, location=reused),
    ]


def numbers(most: int) -> list[Setup]:
    """onebox's Gunicorn file with 1 to so many workers."""
    return [Setup(str(n), f"{OURS} -w {n} {UNIX}", n) for n in range(1, most + 1)]


class Bench:
    """A deployed lab host, where set-ups are started, loaded and stopped."""

    def __init__(self, server: Server) -> None:
        self.server = server
        init = min(self._processes())
        spare = os.sched_getaffinity(0) - os.sched_getaffinity(init)
        self.generator = min(spare, default=None)  # wrk's core; None shares the host's
        self.id = server.run("basename $(readlink /srv/links/current)")
        self.certificate = server.run("grep -h ssl_certificate /etc/onebox/nginx/sites/links.conf")
        self.own = f"links-web@{self.id}"
        token = server.request("POST", "/accounts", json=ACCOUNT).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        self.create = CREATE % bearer["Authorization"]
        link = {"url": "https://example.org/", "code": CODE}
        server.request("POST", "/links", json=link, headers=bearer).raise_for_status()
        server.run(f"systemctl stop links-worker@{self.id} {self.own}.socket {self.own}")

    def measure(self, setup: Setup, runs: Runs, raw: list[str]) -> None:
        """Start a set-up, load it, and stop it."""
        idle = self._ticks()
        domain, unit = self._start(setup)
        runs.start.append((self._ticks() - idle).total() / TICK)
        try:
            self._load(f"https://{domain}/{CODE}", 1)
            redirects, used = self._load(f"https://{domain}/{CODE}", SECONDS)
            creates, spent = self._load(f"https://{domain}/links", SECONDS, self.create)
            runs.memory.append(round(self._memory(unit)))
        finally:
            self.server.run(f"systemctl stop {unit}")
        runs.redirects.append(round(redirects.requests / sum(used.values())))
        runs.creates.append(round(creates.requests / sum(spent.values())))
        runs.redirects_per_second.append(round(redirects.requests / SECONDS))
        runs.creates_per_second.append(round(creates.requests / SECONDS))
        for kind, load in (("redirect", redirects), ("create", creates)):
            getattr(runs, f"{kind}_p50").append(load.p50)
            getattr(runs, f"{kind}_p99").append(load.p99)
            runs.failed += load.failed
        each = {who: 1e6 * seconds / redirects.requests for who, seconds in used.items()}
        runs.microseconds.append({who: round(us, 1) for who, us in each.items()})
        raw += [f"== {setup.name}: redirects", redirects.printed, "-- creates", creates.printed]

    def _start(self, setup: Setup) -> tuple[str, str]:
        """Start a set-up; return its domain and unit once all workers have started."""
        if not setup.arguments:
            self.server.run(f"systemctl start {self.own}.socket {self.own}")
            self._wait(self.own, int(self.server.run("grep -oP '^workers = \\K.*' " + self._conf)))
            return self.server.domain, f"{self.own}.socket {self.own}"
        release = f"/srv/links/releases/{self.id}"
        arguments = setup.arguments.format(release=release)
        unit = UNIT.format(id=self.id, release=release, workers=setup.workers, arguments=arguments)
        tcp = TCP in setup.arguments
        site = SITE.format(
            server="127.0.0.1:8000" if tcp else "unix:/run/bench/app.sock",
            certificate=self.certificate,
            **{name: getattr(setup, name) for name in ("upstream", "site", "location")},
        )
        self.server.run("cat > /run/systemd/system/bench.service", given=unit)
        self.server.run("cat > /etc/onebox/nginx/sites/zz-bench.conf", given=site)
        self.server.run("systemctl daemon-reload; systemctl reload nginx; systemctl start bench")
        self._wait("bench", setup.workers)
        return "bench.test", "bench"

    @property
    def _conf(self) -> str:
        return f"/srv/links/releases/{self.id}/gunicorn.conf.py"

    def _wait(self, unit: str, workers: int) -> None:
        """Wait until a unit's workers have started: their start takes CPU."""
        this = f"_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {unit})"
        started = f"journalctl -u {unit} {this} | grep -c 'Application startup complete'"
        self.server.wait_for(f"[ $({started}) -ge {workers} ]", 60)

    def _load(self, url: str, seconds: int, lua: str = "") -> tuple[wrk.Answers, dict[str, float]]:
        """Load a set-up; return its answers, and the CPU-seconds used, by process."""
        before = self._ticks()
        answers = wrk.run(self.server.host.address, url, seconds, self.generator, lua)
        used = self._ticks() - before
        return answers, {who: ticks / TICK for who, ticks in used.items()}

    def _ticks(self) -> Counter[str]:
        """CPU time of the host's processes and of their exited children, by process."""
        used: Counter[str] = Counter()
        for process in self._processes():
            with suppress(OSError):  # the process has exited
                head, _, fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")
                name = head.partition("(")[2]
                who = name if name in {"nginx", "postgres"} else "rest"
                used["app" if "python" in name else who] += sum(map(int, fields.split()[11:15]))
        return used

    def _processes(self) -> set[int]:
        return cgroup.processes(this_lab(), f"{self.server.host.name}/guest")

    def _memory(self, unit: str) -> float:
        """Return the PSS of a unit's processes in MiB."""
        main = f"M=$(systemctl show -P MainPID {unit.split()[-1]})"
        each = "for p in $M $(pgrep -P $M); do grep ^Pss: /proc/$p/smaps_rollup; done"
        lines = self.server.run(f"{main}; {each}").splitlines()
        return sum(int(line.split()[1]) for line in lines) / 1024


def rounds(bench: Bench, setups: Sequence[Setup], raw: list[str]) -> dict[str, Runs]:
    """Measure set-ups one after the other; a set-up may occur several times."""
    runs = {setup.name: Runs() for setup in setups}
    for setup in setups:
        latest = runs[setup.name]
        bench.measure(setup, latest, raw)
        print(f"{setup.name}: {latest.redirects[-1]:.0f}, {latest.creates[-1]:.0f}", flush=True)
    return runs


def keep(
    name: str, took: float, runs: dict[str, Runs], raw: list[str], **figures: Any
) -> dict[str, dict[str, float]]:
    """Keep and return medians, and keep every round's figures and wrk's own reports."""
    medians = {setup: _medians(run) for setup, run in runs.items()}
    every = {setup: asdict(run) for setup, run in runs.items()}
    figures |= {"seconds": SECONDS, "medians": medians, "rounds": every}
    results.record(f"serving/{name}", took, **figures)
    (results.FOLDER / "serving" / f"{name}.txt").write_text("\n".join(raw))
    return medians


def _medians(runs: Runs) -> dict[str, float]:
    every = {key: values for key, values in asdict(runs).items() if key != "microseconds"}
    return {"failed": every.pop("failed"), **{key: round(median(v), 1) for key, v in every.items()}}


@contextmanager
def deployed(cpus: int, folder: Path) -> Iterator[Bench]:
    """A host with so many cores, with the app on it."""
    name = f"serving-{cpus}"
    lab("up", name, "--cpus", str(cpus))
    try:
        server = Server.of(name, folder, "root")
        server.app["env"] = {"ACCESS_TOKEN_SECONDS": "86400"}  # one token for all
        server.app["limits"] = None  # all load comes from one address
        server.deploy()
        yield Bench(server)
    finally:
        lab("down", name)


def main() -> None:
    """Measure the set-ups named, or all."""
    chosen = sys.argv[1:] or ["tutorials", "workers-1", "workers-2"]
    with TemporaryDirectory() as folder:
        for cpus in (1, 2):
            names = [name for name in chosen if (name[-1] == "2") == (cpus == 2)]
            if not names:
                continue
            with deployed(cpus, Path(folder)) as bench:
                for name in names:
                    _measure(bench, name, cpus)


def _measure(bench: Bench, name: str, cpus: int) -> None:
    raw: list[str] = []
    begin = time.monotonic()
    if name == "tutorials":
        theirs, ours, *steps = between(workers=2)
        half = len(steps) // 2
        setups = [theirs, ours, *steps[:half], theirs, ours, *steps[half:]] * 2
    else:
        setups = numbers(5) * 2
    runs = rounds(bench, setups, raw)
    medians = keep(name, time.monotonic() - begin, runs, raw, cores=cpus)
    draw = plots.setups if name == "tutorials" else plots.workers
    draw(results.FOLDER / "serving" / f"{name}.png", medians, f"{cpus} core{'s' * (cpus > 1)}")


if __name__ == "__main__":
    main()
