"""A server that runs the probe app: good and bad releases, load."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from bench.load import Sample, read
from operations.artifact import pack
from tests.lab_server import PROJECT, Server

# Without taking the lock, which would block a deploy.
LOCKED = "lslocks --noheadings --output PATH | grep -q onebox.lock"
FREE = f"! {LOCKED}"
PROBE = Path(__file__).resolve().parent / "probe"
_numbers = itertools.count(1)


@dataclass
class Probed:
    """The probe on a server, and its source folder, which each release changes."""

    server: Server
    folder: Path

    @classmethod
    def on(cls, server: Server, folder: Path, **settings: object) -> Probed:
        """Make the probe the only app in a server's inventory."""
        source = folder / "probe"
        shutil.copytree(PROBE, source, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
        server.entry["apps"] = [
            {
                "name": "probe",
                "source": str(source),
                "module": "probe.main:app",
                "domains": [f"www.{server.domain}"],
                "health": "/ready",
                "migrate": "alembic upgrade head",
                "processes": [{"name": "worker", "command": "python -m probe.worker"}],
                "web": {"workers": 2},
                "start_timeout": 8,
                "settle": 2,
                "watch": 2,
                "lock_timeout": 2,
                **settings,
            }
        ]
        return cls(server, source)

    def change(self, kind: str = "good") -> None:
        """Change the source: the next release is another artifact, of this kind."""
        text = f"NUMBER = {next(_numbers)}\nKIND = {kind!r}\n"
        (self.folder / "probe/behaviour.py").write_text(text)

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Deploy the source folder."""
        return self.server.pyinfra("-y", *arguments)

    def send(self) -> str:
        """Upload a new release's archive without deploying it; return its digest."""
        self.change()
        artifact = pack(self.folder)
        path = f"/var/lib/onebox/probe/incoming/{artifact.digest}.tar.gz"
        self.server.run(f"base64 -d > {path}", given=base64.b64encode(artifact.content).decode())
        return artifact.digest

    def is_complete(self) -> bool:
        """Return whether the live release's files equal the source folder's."""
        with tarfile.open(fileobj=BytesIO(gzip.decompress(pack(self.folder).content))) as archive:
            files = {m.name: archive.extractfile(m) for m in archive.getmembers()}
            sums = [f"{sha256(f.read()).hexdigest()}  {n}" for n, f in files.items() if f]
        check = "cd /srv/probe/current/app && sha256sum --check --quiet && echo whole"
        return "whole" in self.server.run(check, check=False, given="\n".join(sums) + "\n")

    def release(self, kind: str = "good") -> None:
        """Deploy a new release that must go live."""
        self.change(kind)
        result = self.deploy()
        assert result.returncode == 0, result.stdout + result.stderr

    def status(self) -> dict[str, object]:
        """Return the status that the server reports for the probe."""
        document = json.loads(self.server.run("onebox-release status probe --json"))
        data: dict[str, object] = document["data"]
        return data

    def live(self) -> str:
        """Return the release that answers public requests."""
        return self.server.request("GET", "/ready").headers["x-release"]

    def rows(self) -> set[str]:
        """Return the keys of the rows that are in the database."""
        return set(self.sql("select key from rows").split())

    def sql(self, query: str) -> str:
        """Run a query as the superuser `postgres`; return its output."""
        return self.server.run(f'cd /; runuser -u postgres -- psql -XqAt -d probe -c "{query}"')

    def log(self, start: float) -> list[tuple[float, str]]:
        """Return the log lines of onebox-release since a time, each with its Unix time."""
        journal = f"journalctl -t onebox-release --since @{int(start)} -o short-unix --no-pager -q"
        lines = (line.split(" ", 3) for line in self.server.run(journal).splitlines())
        return [(float(at), text) for at, _, _, text in lines]

    def since(self, start: float) -> list[str]:
        """Return the log lines of onebox-release since a time, each with the seconds since then."""
        return [f"{at - start:.1f} s  {text}" for at, text in self.log(start)]

    @contextmanager
    def rows_in_use(self) -> Iterator[None]:
        """Lock the table against DDL, but not against the app, for at most five minutes: on a busy
        machine a deploy reaches its migration late."""
        self.server.run(
            "cd /; systemd-run --quiet --unit=holder --uid=postgres psql -d probe -c"
            " 'begin; lock table rows in row exclusive mode; select pg_sleep(300)'"
        )
        try:
            time.sleep(0.5)
            yield
        finally:
            self.server.run("systemctl stop holder 2>/dev/null", check=False)

    def assert_settled(self) -> None:
        """Check that only the live release runs and serves, and that no unit has failed."""
        deadline = time.monotonic() + 60
        while (status := self.status())["deploying"] or len(status["up"]) > 1:  # type: ignore[arg-type]
            assert time.monotonic() < deadline, status
            time.sleep(0.5)
        assert status["up"] == [status["live"]], status
        assert self.live() == status["live"]
        failed = self.server.run("systemctl --failed --no-legend")
        assert not failed, failed

    @contextmanager
    def load(
        self,
        path: Path,
        seconds: float = 300,
        *,
        gets: float = 60,
        posts: float = 15,
        resend: bool = False,
    ) -> Iterator[Traffic]:
        """Send `gets` and `posts` requests per second while the block runs. If it reloads nginx,
        `resend` requests whose idle connection was closed, as browsers do.

        The default leaves room for a deploy while another test does the same: with soaks' 200 and
        50, two tests took two cores, and a failed deploy two minutes instead of one.
        """
        traffic = Traffic(path)
        host = self.server.host
        options = {
            "address": host.address,
            "domain": self.server.domain,
            "ca": str(host.acme_root),
            "out": str(path),
            "seconds": str(seconds),
            "gets": str(gets),
            "posts": str(posts),
        }
        arguments = [text for key, value in options.items() for text in (f"--{key}", value)]
        arguments += ["--resend"] if resend else []
        # Real clients have their own machines: other processes must not delay the load.
        command = ["nice", "-n", "-10", sys.executable, "-m", "bench.load", *arguments]
        process = subprocess.Popen(command, cwd=PROJECT)
        try:
            time.sleep(1)
            yield traffic
            time.sleep(1)
        finally:
            process.terminate()
            process.wait(60)
        traffic.samples = read(path)


@dataclass
class Traffic:
    """The samples of a load, once it has ended."""

    path: Path
    samples: list[Sample] = field(default_factory=list)

    @property
    def failures(self) -> list[Sample]:
        """Return the failed requests."""
        return [sample for sample in self.samples if sample.failed]

    @property
    def resent(self) -> list[Sample]:
        """Return the requests that succeeded when sent again."""
        return [sample for sample in self.samples if sample.error and not sample.failed]

    @property
    def acknowledged(self) -> set[str]:
        """Return the keys of the rows that the app acknowledged."""
        return {s.key for s in self.samples if s.method == "POST" and not s.failed}

    @property
    def releases(self) -> set[str]:
        """Return the releases that answered."""
        return {sample.release for sample in self.samples if sample.release}

    def first_failures(self) -> str:
        """Return the first failures, for an assertion's message."""
        return "\n".join(map(str, self.failures[:10]))
