"""What the removal of an app takes with it, and what it keeps."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from onebox_release.app import App
from onebox_release.core import remove
from onebox_release.errors import LockedError, ReleaseError
from onebox_release.host import lock, nginx, postgresql

from tests.unit.onhost.fake_server import Server

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
