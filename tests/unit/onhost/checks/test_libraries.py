"""Libraries that an update replaced: which units use them, and how each is restarted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from onebox_checks import libraries, restarts, rules
from onebox_checks.observation import Observation
from onebox_release.host import lock, systemd

from tests.unit.onhost.checks.test_round import SETTINGS

CODE = "7f00-7f01 r-xp 00000000 08:01 12 "
NEW, OLD = f"{CODE}  /usr/lib/libc.so.6\n", f"{CODE}  /usr/lib/libssl.so.3 (deleted)\n"
DATA = OLD.replace("r-xp", "rw-p")
OWN = f"{CODE}  /memfd:x (deleted)\n{CODE}  /srv/links/venvs/a/b.so (deleted)\n"


def processes(proc: Path, found: dict[str, str]) -> Path:
    for number, (group, maps) in enumerate(found.items(), 1):
        (proc / str(number)).mkdir()
        (proc / str(number) / "cgroup").write_text(f"2:pids:/\n1:name=systemd:{group}\n0::/\n")
        (proc / str(number) / "maps").write_text(maps)
    (proc / "99").mkdir()  # it ends just now
    return proc


def test_units_that_run_on_replaced_files_are_found(tmp_path: Path) -> None:
    found = {
        "/system.slice/nginx.service": NEW + OLD,
        "/system.slice/system-postgresql.slice/postgresql@15-main.service": OLD,
        "/onebox.slice/onebox-links.slice/links-web@r1.service": OLD,
        "/init.scope": OLD,
        "/system.slice/fine.service": NEW + DATA + OWN,
        "/user.slice/user-0.slice/session-3.scope": OLD,
        "/user.slice/user-0.slice/user@0.service/init.scope": OLD,
    }
    units = ["init.scope", "links-web@r1.service", "nginx.service", "postgresql@15-main.service"]
    stale = libraries.stale(processes(tmp_path, found))
    assert stale == {unit: ["/usr/lib/libssl.so.3"] for unit in units}


def test_what_root_wrote_is_what_a_round_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "stale", lambda: {"nginx.service": ["/usr/lib/a.so"]})
    file = tmp_path / "onebox" / "libraries.json"
    assert libraries.read(file) == {}
    libraries.write(file)
    assert libraries.read(file) == {"nginx.service": ["/usr/lib/a.so"]}


def test_a_finding_names_units_and_files() -> None:
    seen = Observation(at=0, libraries={"nginx.service": ["/usr/lib/x/libssl.so.3"]})
    [finding] = rules._libraries(seen, rules.Past(set(), {}, {}))
    assert "nginx still use the old libssl.so.3" in finding.what
    assert not finding.urgent


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(systemd, "systemctl", lambda *words: done.append(" ".join(words)))
    monkeypatch.setattr(systemd, "run_checks", lambda: None)
    monkeypatch.setattr(restarts, "_release", lambda app: done.append(f"switch {app}"))
    monkeypatch.setattr(restarts, "_nginx", lambda: done.append("hand over"))
    monkeypatch.setattr(lock, "switching", list)
    monkeypatch.setattr(restarts, "_units", lambda app: {f"{app}-web@r1.service"})
    return done


def locked(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def take(_: str) -> Iterator[str]:
        yield reason

    monkeypatch.setattr(lock, "locked", take)


def test_each_is_restarted_in_its_own_way_and_order(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [
        "cron.service", "dbus.service", "init.scope", "links-web@r1.service", "nginx.service",
        "postgresql@15-main.service",
    ]  # fmt: skip
    monkeypatch.setattr(libraries, "stale", lambda: {unit: ["/usr/lib/a.so"] for unit in units})
    locked("", monkeypatch)
    assert restarts.run(SETTINGS) == 0
    assert ran == [
        "restart cron.service", "restart postgresql@15-main.service",
        "switch links", "hand over", "daemon-reexec",
    ]  # fmt: skip


def test_an_app_that_is_being_deployed_keeps_nothing_else_on_old_files(
    ran: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deploy key can begin one after the other."""
    units = ["links-web@r1.service", "shop-web@r1.service", "nginx.service"]
    monkeypatch.setattr(libraries, "stale", lambda: {unit: ["/usr/lib/a.so"] for unit in units})
    monkeypatch.setattr(lock, "switching", lambda: ["links"])
    monkeypatch.setattr(lock, "WAIT", 0)
    locked("", monkeypatch)
    assert restarts.run(replace(SETTINGS, apps={"links": [], "shop": []})) == 0
    assert ran == ["switch shop", "hand over"]
    assert "Not restarted, as a deploy is under way: links\n" in capsys.readouterr().err


def test_nothing_is_restarted_during_a_deploy_or_on_hold(
    ran: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked("Deploys are on hold", monkeypatch)
    assert restarts.run(SETTINGS) == 0
    assert ran == []
    assert "Nothing was restarted: Deploys are on hold" in capsys.readouterr().err


def test_an_old_nginx_stays_where_no_new_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    (tmp_path / "pid").write_text("7")
    monkeypatch.setattr(restarts, "NGINX_PID", tmp_path / "pid")
    monkeypatch.setattr(restarts, "OLD_PID", tmp_path / "pid.oldbin")
    monkeypatch.setattr(restarts, "PATIENCE", 0.1)
    monkeypatch.setattr(os, "kill", lambda *of: sent.append(of))
    with pytest.raises(Exception, match="the old one serves"):
        restarts._nginx()
    assert sent == [(7, signal.SIGUSR2)]


def test_an_nginx_that_still_waits_since_the_last_time_is_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    alive = {"5"}
    monkeypatch.setattr(restarts, "NGINX_PID", tmp_path / "pid")
    monkeypatch.setattr(restarts, "OLD_PID", tmp_path / "pid.oldbin")
    monkeypatch.setattr(Path, "exists", lambda path: path.name in alive)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    (tmp_path / "pid").write_text("7")
    (tmp_path / "pid.oldbin").write_text("5\n")

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        if number == signal.SIGTERM:
            alive.clear()
        if number == signal.SIGUSR2:
            (tmp_path / "pid").write_text("9")

    monkeypatch.setattr(os, "kill", kill)
    restarts._nginx()
    assert sent == [(5, signal.SIGTERM), (7, signal.SIGUSR2), (7, signal.SIGQUIT)]
