"""The sandbox of a command, the maintenance page, and what an app's end takes with it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onebox_release.app import App
from onebox_release.core import maintenance, remove, sandbox
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import health, lock, nginx, postgresql, systemd
from onebox_release.host.health import Answer

from operations import tree
from tests.unit.hosts import commands, run
from tests.unit.onhost.fake_server import Server

WEB = """[Unit]
Description=Web
[Service]
Type=exec
ExecStart=/srv/links/releases/%i/venv/bin/python -m gunicorn
Restart=always
KillMode=mixed
TimeoutStopSec=40
User=links
# Why.
EnvironmentFile=/etc/links/releases/%i.env
SystemCallFilter=~@privileged @resources
"""


def test_a_command_shares_all_but_what_web_has_for_itself(app: App) -> None:
    app.web_unit.write_text(WEB)
    assert list(sandbox.properties(app.release("a-1"))) == [
        "TimeoutStopSec=40",
        "User=links",
        "EnvironmentFile=/etc/links/releases/a-1.env",
        "SystemCallFilter=~@privileged @resources",
    ]


def test_a_command_reaches_the_shell_as_it_was_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("a-1", live="a-1")
    server.app.web_unit.write_text(WEB)
    asked: list[list[str]] = []
    real = subprocess.run
    command = """echo "$SECRET" 'a  b' \\`true\\`
exit 7"""

    def called(asked_for: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(asked_for)
        files = [each.partition("File=")[2] for each in asked_for if "EnvironmentFile=/" in each]
        assert Path(files[-1]).stat().st_mode & 0o777 == 0o600
        text = Path(files[-1]).read_text()
        # As systemd reads the file and the arguments, sh reads them, too.
        shell = [each.replace("$$", "$") for each in asked_for[-3:]]
        export = f'{text}\nexport ONEBOX_RUN; exec "$@"'
        return real(["sh", "-c", export, "sh", *shell], check=False, capture_output=True)

    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setenv("SECRET", "it's here")
    assert sandbox.run(server.app, command) == 7
    assert "--property=User=links" in asked[0]
    assert not any("SECRET" in argument for argument in asked[0])
    assert list((server.app.root / "run").glob("onebox-run-*")) == []


def test_a_command_that_waits_is_taken_once(app: App) -> None:
    sandbox.store_command(app, "0" * 32, "echo secret")
    assert app.command("0" * 32).stat().st_mode & 0o777 == 0o600
    assert sandbox.take_command(app, "0" * 32) == "echo secret"
    with pytest.raises(RefusedError, match="no command was stored"):
        sandbox.take_command(app, "0" * 32)


def test_a_command_needs_a_live_release(app: App) -> None:
    with pytest.raises(RefusedError, match="Deploy first"):
        sandbox.run(app, "true")


def answering(monkeypatch: pytest.MonkeyPatch, status: int, release: str | None) -> None:
    monkeypatch.setattr(health, "ask", lambda *_: Answer(status, release, ""))


def test_the_page_is_one_file_and_clients_must_get_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.state.mkdir(exist_ok=True)
    answering(monkeypatch, 503, None)
    assert maintenance.since(app) is None
    maintenance.enable(app)
    since = maintenance.since(app)
    assert since
    assert app.maintenance.stat().st_mode & 0o777 == 0o644, "nginx looks for it as www-data"
    maintenance.enable(app)
    assert maintenance.since(app) == since
    maintenance.disable(app)
    maintenance.disable(app)
    assert maintenance.since(app) is None


@pytest.mark.parametrize("answer", [(200, "a-1"), (503, "a-1"), (404, None)])
def test_a_page_that_is_not_shown_is_not_left_switched_on(
    app: App, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str | None]
) -> None:
    answering(monkeypatch, *answer)
    with pytest.raises(ReleaseError, match="deploy once"):
        maintenance.enable(app)
    assert not app.maintenance.exists()


def looked(path: str) -> dict[str, str]:
    """Return what the deployer sees of nginx's folder."""
    return tree.TreeStates().process(run(tree.TreeStates().command(path)))


def test_nginx_without_an_app_is_what_the_deployer_would_place(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = {"nginx.conf": "include sites/*;\n", ".onebox/maintenance.html": "x", "sites/b.conf": ""}
    path = str(app.nginx)
    for files in (rest, {**rest, "sites/links.conf": "y"}):
        [command] = commands(tree.install, path, files, "true {}", facts={tree.TreeStates: {}})
        run(command)
        if files == rest:
            wanted = looked(path)
    monkeypatch.setattr(nginx, "TEST", ["true"])
    reloads: list[str] = []
    monkeypatch.setattr(systemd, "systemctl", lambda *words: reloads.append(" ".join(words)))
    for _ in range(2):
        nginx.remove_site(app)
        assert looked(path) == wanted
    assert reloads == ["reload nginx.service"] * 2, "the first may have died before its reload"


def test_nginx_stays_as_it_is_where_it_refuses(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"nginx.conf": "x", "sites/links.conf": "y"}
    path = str(app.nginx)
    [command] = commands(tree.install, path, files, "true {}", facts={tree.TreeStates: {}})
    run(command)
    before = app.nginx.readlink()
    monkeypatch.setattr(nginx, "TEST", ["false"])
    with pytest.raises(ReleaseError, match="rejects"):
        nginx.remove_site(app)
    assert app.nginx.readlink() == before


def test_psql_reads_nothing_of_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, str]]] = []

    def called(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        asked.append((command, given["env"]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("PGOPTIONS", "-c x=y")
    monkeypatch.setenv("TERM", "xterm")
    assert postgresql.prompt("links", role="links")
    [(command, environment)] = asked
    assert command[3:5] == ["--", "psql"]
    assert "-X" in command
    assert {n: environment[n] for n in ("HOME", "PSQLRC", "PSQL_HISTORY", "TERM")} == {
        "HOME": "/nonexistent", "PSQLRC": "/dev/null", "PSQL_HISTORY": "/dev/null", "TERM": "xterm"
    }  # fmt: skip
    assert "PGOPTIONS" not in environment


Remove = Callable[..., None]


@pytest.fixture
def end(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Remove:
    """Remove an app that has something of everything, from a server whose users are others'."""
    app = server.app
    server.make("a-1", live="a-1")
    app.parameters_file.write_text(json.dumps({}))
    for path in (app.data, app.certificate.parent):
        path.mkdir(parents=True)
        (path / "own").write_text("own")
    app.generated.write_text("SECRET_KEY=x\n")
    units = app.web_unit.parent
    for name in (
        "links@.target", "links-web@.service", "links-queue@.service", "links.service",
        "onebox-listen-links.service",
    ):  # fmt: skip
        (units / name).write_text("WorkingDirectory=/srv/links/releases/%i/app\n")
    (units / "links-2-web@.service").write_text("WorkingDirectory=/srv/links-2/releases/%i/app\n")
    app.access_log.write_text("")

    def forgotten(_: str) -> object:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", forgotten)
    monkeypatch.setattr(grp, "getgrnam", forgotten)
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(lock, "HOLD", tmp_path / "hold")
    monkeypatch.setattr(nginx, "remove_site", lambda _: server.calls.append("nginx"))
    monkeypatch.setattr(postgresql, "exists", lambda _: "dropped" not in server.calls)

    def query(sql: str, **_: object) -> str:
        if "pg_database_size" in sql:
            return "0"
        server.calls.append("dropped" if "drop database" in sql else sql)
        return ""

    monkeypatch.setattr(postgresql, "query", query)
    monkeypatch.setattr(
        postgresql, "dump", lambda _, path, seconds: path.write_text(f"dump, {seconds} s")
    )

    def removed(*, keep: bool = True) -> None:
        remove.remove(app, "ann", keep=keep)

    return removed


OPENED = 'alter database "links" allow_connections true connection limit -1 is_template false'


def test_a_database_that_its_owner_closed_is_dumped_and_dropped(
    end: Remove, server: Server
) -> None:
    end()
    assert [call for call in server.calls if call in {OPENED, "dropped"}] == [
        OPENED, OPENED, "dropped"
    ]  # fmt: skip


def test_a_role_that_others_granted_something_is_dropped_all_the_same(
    end: Remove, app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str]] = []

    def query(sql: str, *, database: str = "postgres", **_: object) -> str:
        asked.append((database, sql))
        if "pg_shdepend" in sql:
            return "other\nthird\n" if "'links'" in sql else ""
        if database == "other":
            raise ReleaseError("locked")
        if sql == 'drop role if exists "links"':
            raise ReleaseError("some objects depend on it")
        return "0"

    monkeypatch.setattr(postgresql, "query", query)
    end()
    assert {("other", 'drop owned by "links"'), ("third", 'drop owned by "links"')} <= {*asked}
    assert ("postgres", 'alter role "links" nologin') in asked
    assert ("postgres", 'drop role if exists "links-migrate"') in asked
    assert "Could not drop the role links; renamed it to links-removed-" in capsys.readouterr().err
    assert not app.parameters_file.exists()


def rest(app: App) -> list[str]:
    """Return the files that are left, as seen from the root."""
    return sorted(str(path.relative_to(app.root)) for path in app.root.rglob("*") if path.is_file())


def test_an_end_takes_all_but_a_last_copy(end: Remove, app: App) -> None:
    end()
    other, dump, files = rest(app)
    assert dump.endswith(".dump")
    assert files.endswith(".tar.gz")
    assert other == "etc/systemd/system/links-2-web@.service"
    names = subprocess.run(
        ["tar", "-tf", app.root / files], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(names) == {"var/lib/links/", "var/lib/links/own", "etc/links/generated.env"}
    assert app.copies.stat().st_mode & 0o777 == 0o700


def test_the_last_copy_waits_for_nothing_and_follows_no_link(end: Remove, app: App) -> None:
    """What an app can leave in its folder to keep its removal from ending."""
    secret = app.root / "secret"
    secret.write_text("of another's")
    os.mkfifo(app.data / "fifo")
    (app.data / "link").symlink_to(secret)
    os.link(app.data / "own", app.data / "again")
    with (app.data / "sparse").open("wb") as file:
        file.truncate(2**40)
    folder = os.open(app.data, os.O_RDONLY)
    for _ in range(1500):  # more levels than Python goes down
        os.mkdir("deep", dir_fd=folder)
        below = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    start = time.monotonic()
    end()
    assert time.monotonic() - start < 30
    assert not app.data.exists()
    assert secret.read_text() == "of another's"
    [archive] = app.copies.glob("*.tar.gz")
    assert archive.stat().st_mode & 0o777 == 0o600
    assert archive.stat().st_size < 2**20
    listed = subprocess.run(
        ["tar", "-tvf", archive], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    kinds = {line.split()[5]: line[0] for line in listed}
    own = "var/lib/links/"
    assert [kinds[own + name] for name in ("fifo", "link", "sparse")] == ["p", "l", "-"]


def test_an_end_without_a_copy_leaves_none(end: Remove, app: App) -> None:
    end(keep=False)
    assert not app.copies.exists()


def test_nothing_is_dropped_before_it_is_copied(
    end: Remove, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ReleaseError("The dump failed: no space")

    monkeypatch.setattr(postgresql, "dump", full)
    with pytest.raises(ReleaseError, match="no space"):
        end()
    assert "nginx" not in server.calls
    assert "dropped" not in server.calls
    assert server.calls[-2:] == [
        "enable --quiet links.service", "start --no-block links@a-1.target",
    ]  # fmt: skip
    assert server.app.parameters_file.exists()


def test_an_end_waits_for_deploys_and_holds(end: Remove, server: Server) -> None:
    lock.HOLD.write_text(json.dumps({"at": "t", "who": "bob", "why": "the sale"}))
    with pytest.raises(LockedError, match="the sale"):
        end()
    lock.HOLD.unlink()
    with lock.LOCK.open("w+") as file:
        assert lock.try_lock(file, "bob at home")
        with pytest.raises(LockedError, match="bob at home"):
            end()
    assert server.calls == []
