"""A fake server with configured answers, which records the order of calls."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path

from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, health
from onebox_release.host.health import Answer
from onebox_release.parameters import Parameters

PARAMETERS = Parameters(
    domains=["links.test"],
    health="/health",
    processes=["queue"],
    database="local",
    migrates=True,
    migrations_compatible=False,
    build=False,
    start_timeout=5,
    settle=2,
    watch=10,
    drain=3,
    keep_releases=2,
    units=["links@.target", "links-web@.service", "links-web@.socket", "links-queue@.service"],
)


class Server:
    """systemd, nginx and a clock in one; `say` maps a release to what it answers, over time."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.now = 0.0
        self.up: set[str] = set()
        self.calls: list[str] = []
        self.waited: list[tuple[str, int]] = []
        self.crashed: set[str] = set()
        self.ended_well: set[str] = set()
        self.failed: set[str] = set()
        self.refuses: set[str] = set()
        self.results: dict[str, str] = {}
        self.patience: float | None = None
        self.answers: dict[str, Callable[[], int]] = {}
        self.not_serving: dict[str, Callable[[], bool]] = {}
        self.paths: dict[str, str] = {}
        self.cpu: Callable[[str], float] = lambda _: 0.0
        self.public: Callable[[], str | None] = self.pointer

    # What the code under test calls.

    def systemctl(self, *arguments: str, timeout: float | None = 0) -> None:
        del timeout
        call = " ".join(arguments)
        self.calls.append(call)
        if any(refused in call for refused in self.refuses):
            raise ReleaseError(f"systemctl {call}: refused")
        verb, *units = (word for word in arguments if not word.startswith("--"))
        releases = {unit.partition("@")[2].rpartition(".")[0] for unit in units}
        if verb == "start":
            self.up |= releases - {""}
        elif verb == "stop" and any(unit.endswith(".target") for unit in units):
            self.up -= releases

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        del properties
        crashed = unit in self.crashed
        return {
            "NRestarts": str(int(crashed or unit in self.ended_well)),
            "ActiveState": "failed" if unit in self.failed else "active",
            "SubState": "auto-restart" if crashed or unit in self.ended_well else "running",
            "ExecMainStatus": "9" if self.results.get(unit) == "signal" else str(int(crashed)),
            "Result": self.results.get(unit, "exit-code" if crashed else "success"),
        }

    def wait_until_inactive(self, pattern: str, seconds: float | None = None) -> None:
        self.patience = seconds
        self.waited.append((pattern, len(self.calls)))

    def releases_up(self, app: str, processes: list[str]) -> list[str]:
        assert (app, processes) == ("links", ["queue"])
        return sorted(self.up)

    def is_active(self, unit: str) -> bool:
        return unit.partition("@")[2].rpartition(".")[0] in self.up

    def journal(self, unit: str, lines: int = 40, after: str = "") -> str:
        del lines, after
        return f"last words of {unit}\n"

    def ask(self, connection: http.client.HTTPConnection, path: str) -> Answer:
        if isinstance(connection, health.UnixConnection):
            release: str | None = connection.path.parent.name
        else:
            release = self.public()
        assert path == self.paths.get(release or "", "/health")
        if release not in self.up:
            raise ConnectionRefusedError("nobody listens")
        if release in self.not_serving and self.not_serving[release]():
            self.now += 1
            raise TimeoutError
        status = self.answers.get(release, lambda: 200)()
        return Answer(status, release, "body")

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def cursor(self) -> str:
        return "here"

    def cpu_time(self, unit: str) -> float:
        return self.cpu(unit)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    # What tests ask.

    def pointer(self) -> str | None:
        current = self.app.current
        return current.readlink().name if current.is_symlink() else None

    def make(self, *releases: str, live: str | None = None) -> None:
        for release in releases:
            folder = self.app.release(release).folder
            (folder / "app").mkdir(parents=True)
            venv = self.app.home / "venvs" / f"for-{release}"
            venv.mkdir()
            (folder / "venv").symlink_to(venv)
            self.app.release(release).environment.write_text("")
        if live:
            durable.point(self.app.current, f"releases/{live}")
            self.up.add(live)

    def remember(self, *entries: tuple[str, str, str]) -> None:
        lines, before = [], ""
        for what, release, result in entries:
            entry = {"at": "t", "what": what, "release": release, "before": before}
            lines.append(json.dumps({**entry, "result": result}))
            before = release if result == "succeeded" else before
        self.app.history.write_text("".join(f"{line}\n" for line in lines))

    def history(self) -> list[tuple[str, str, str]]:
        entries = [json.loads(line) for line in self.app.history.read_text().splitlines()]
        return [(entry["what"], entry["release"], entry["result"]) for entry in entries]


def make_app(root: Path) -> App:
    """Return an app with the folders that the deployer makes."""
    app = App("links", root, PARAMETERS)
    for folder in (
        app.home / "releases",
        app.home / "venvs",
        app.configuration / "releases",
        app.state / "incoming",
        app.parameters_file.parent,
        root / "run",
        root / "etc/systemd/system",
        app.access_log.parent,
    ):
        folder.mkdir(parents=True)
    return app


def stop_of(release: str) -> str:
    """Return the command that stops all of a release."""
    return (
        f"stop links@{release}.target links-web@{release}.service"
        f" links-queue@{release}.service links-web@{release}.socket"
    )
