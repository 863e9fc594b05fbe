"""`make soak-hand`: the pages of docs/ on upgrades and migration, run as written."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.probed import Probed
from tests.gated import variables
from tests.lab_hosts import PREFIX, Hosts
from tests.lab_server import PROJECT, Server, lab

BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AWAY = 900  # seconds, the timeout of a block
SSH = """#!/bin/sh
# Replaces a user's ssh_config.
case $1 in old) host={old} ;; new) host={new} ;; *) exec /usr/bin/ssh "$@" ;; esac
shift
exec /usr/bin/ssh -F {config} $host "$@"
"""
BIN = PROJECT / ".venv/bin"
TICKS = "/var/lib/links/ticks"
TICKING = {"name": "tick", "command": f"date +%s.%N >> {TICKS}", "schedule": "*:*:0/5"}
RELOADED = 3  # requests, of some 10,000
# The first version of onebox: its servers are the oldest to upgrade from.
EARLIER = Path(__file__).parent / "earlier/onebox-0.1.tar.xz"


def page(name: str) -> Iterator[tuple[str, str]]:
    """Yield each block of a page: where it runs, and its commands."""
    for match in BLOCK.finditer((PROJECT / f"docs/{name}.md").read_text()):
        yield match[1], match[2]


def on_laptop(commands: str, folder: Path, server: Server) -> None:
    """Run commands like a user in a clone with this server's inventory."""
    env = os.environ | {"PATH": f"{BIN}:{folder}:{os.environ['PATH']}"} | variables(server)
    bash(["bash", "-eu", "-o", "pipefail", "-c", commands], env=env)


def on_server(server: Server, commands: str) -> None:
    """Run commands as root on a server; the lab performs a reboot."""
    if commands.strip() == "reboot":
        lab("reboot", server.host.name)
        return
    ssh = ["ssh", "-F", str(server.host.ssh_config), server.host.name]
    bash([*ssh, f"bash -eu -c {quoted(commands)}"])


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def bash(command: list[str], **options: Any) -> None:
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=AWAY,
        stdin=subprocess.DEVNULL, **{"cwd": PROJECT, **options},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.fixture
def moved(copy: Callable[..., Server], tmp_path: Path) -> Callable[[], tuple[Server, Path]]:
    """Creates a server with a link in its app, and a laptop's folder with its inventory."""

    def make() -> tuple[Server, Path]:
        server = copy("12")
        assert server.create_link("https://example.org/kept").is_success
        server.write()
        return server, tmp_path

    return make


def links(server: Server) -> str:
    """Return the links that are in the database."""
    query = "select code, url from links order by code"
    return server.run(f"cd /; runuser -u postgres -- psql -XqAt -d links -c '{query}'")


def test_debian_12_to_13(moved: Callable[[], tuple[Server, Path]], figures: dict[str, Any]) -> None:
    server, folder = moved()
    before = links(server)
    for where, commands in page("debian-12-to-13"):
        begin = time.monotonic()
        if where == "server":
            on_server(server, commands)
        else:
            text = commands.replace("inventory.py", str(server.inventory))
            on_laptop(text, folder, server)
        figures.setdefault("seconds", []).append(
            [where, commands.splitlines()[-1], round(time.monotonic() - begin, 1)]
        )
        if "full-upgrade" in commands:
            server.seconds_until_ready(10)
    assert server.run("cat /etc/debian_version").startswith("13")
    assert links(server) == before
    server.seconds_until_ready(30)
    assert server.deploy()["success"] == []
    assert "certbot" in server.run("/usr/local/lib/onebox/certbot/bin/certbot --version")


def test_new_server(
    moved: Callable[[], tuple[Server, Path]],
    hosts: Hosts,
    figures: dict[str, Any],
) -> None:
    old, folder = moved()
    new = Server.of(hosts.up(f"{PREFIX}-new", "--debian", "13"), folder, "root", domain=old.domain)
    new.write()
    (folder / "ssh").write_text(
        SSH.format(old=old.host.name, new=new.host.name, config=old.host.ssh_config)
    )
    (folder / "ssh").chmod(0o755)
    before = links(old)
    for server in (old, new):  # a timer that writes every five seconds
        server.app["timers"] = [TICKING]
        server.write()
    old.deploy()
    old.wait_for(f"test -s {TICKS}", 30)
    written = ""
    for where, commands in page("new-server"):
        begin = time.monotonic()
        text = commands.replace("new.py", str(new.inventory))
        if "pg_dump" in commands:
            written = old.run(f"cat {TICKS}")
            assert "yes" in new.run(f"test ! -e {TICKS} && echo yes"), "it ran without its data"
        if where == "laptop":
            on_laptop(text, folder, old)
        else:
            assert old.run(f"cat {TICKS}") == written, "written after the dump, and lost"
            assert new.run(f"cat {TICKS}").startswith(written)
            new.wait_for(f"test $(wc -l < {TICKS}) -gt {len(written.splitlines())}", 30)
            assert links(new) == before
            new.seconds_until_ready(10)
            assert new.create_link("https://example.org/more").is_success, "the old password works"
            on_laptop(text, folder, old)
        figures.setdefault("seconds", []).append(
            [where, commands.splitlines()[-1], round(time.monotonic() - begin, 1)]
        )
    assert new.deploy()["success"] == []
    old.seconds_until_ready(30)
    assert links(old) == before


def test_newer_onebox(hosts: Hosts, tmp_path: Path, csv: Path, figures: dict[str, Any]) -> None:
    name = f"{PREFIX}-earlier"
    hosts.up(name, "--debian", "12", f"--domain=www.{name}.onebox.test")
    server = Server.of(name, tmp_path, "debian")
    probe = Probed.on(server, tmp_path)
    deploy_with(EARLIER, server, tmp_path)
    server.seconds_until_ready(10, "/ready")
    begin = time.monotonic()
    # nginx's configuration changes, and its reload closes idle connections.
    with probe.load(csv, gets=200, posts=50, resend=True) as traffic:
        for where, commands in page("newer-onebox"):
            text = commands.replace("inventory.py", str(server.inventory))
            if where == "look":  # exit code 2 reports drift
                text = text.replace("fab drift", "fab drift && exit 1 || test $? = 2")
            on_laptop(text, tmp_path, server)
    figures |= {
        "seconds": round(time.monotonic() - begin, 1),
        "requests": len(traffic.samples),
        "sent_again": len(traffic.resent),
        "failed": len(traffic.failures),
        "lost_rows": len(traffic.acknowledged - probe.rows()),
    }
    assert not traffic.failures, traffic.first_failures()
    assert len(traffic.resent) <= RELOADED, traffic.resent
    assert traffic.acknowledged <= probe.rows()
    assert server.deploy()["success"] == []
    probe.assert_settled()


def deploy_with(archive: Path, server: Server, folder: Path) -> None:
    """Deploy with another onebox, and with the packages that it pins."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    onebox = folder / "onebox"
    bash([str(PROJECT / ".tools/bin/uv"), "sync", "--frozen", "--quiet", "--no-dev"], cwd=onebox)
    python = str(onebox / ".venv/bin/python")
    bash([python, "-m", "pyinfra", "-y", str(server.write()), "deploy.py"], cwd=onebox)
