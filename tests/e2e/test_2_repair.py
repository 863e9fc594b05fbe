"""Killed processes are restarted; a deploy fixes drift."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.lab_server import Server, lab

# Python leaks a TLS socket whose connection is reset before its handshake, which a killed nginx
# causes: https://github.com/python/cpython/issues/113280
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
WITHIN = 10  # seconds

KILLS = {
    "a Gunicorn worker": "kill -9 $(pgrep -f '[-]m gunicorn' | tail -n 1)",
    "Gunicorn's master": "kill -9 $(systemctl show --value -p MainPID $(systemctl list-units"
    " --plain --no-legend 'links-web@*.service' | cut -d' ' -f1))",
    "nginx's master": "kill -9 $(cat /run/nginx.pid)",
    "all of nginx": "pkill -9 nginx",
    "PostgreSQL's postmaster": "kill -9 $(head -n 1 /var/lib/postgresql/*/main/postmaster.pid)",
}
# The brackets keep the pattern from matching the shell that runs it.
PROCESSES = "pgrep -f '[-]m gunicorn|[n]ginx: master|[/]bin/postgres'"


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    """Close leaked sockets here, not in a later test."""
    yield
    gc.collect()


@pytest.mark.parametrize("what", KILLS)
def test_a_killed_process_is_restarted(server: Server, what: str) -> None:
    before = server.run(PROCESSES)
    assert before == server.run(PROCESSES)
    server.run(KILLS[what])
    server.seconds_until_ready(WITHIN)
    assert server.run(PROCESSES) != before, "nothing was killed"
    # Only this request may need PostgreSQL; it must be back within the same time.
    deadline = time.monotonic() + WITHIN
    while server.create_link("https://example.com/").status_code != httpx.codes.CREATED:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_restarts_have_no_limit(server: Server) -> None:
    """More restarts than systemd's default limit of five in ten seconds."""
    for _ in range(6):
        server.run(KILLS["all of nginx"], check=False)
        server.run("systemctl show --value -p ActiveState nginx")
        server.seconds_until_ready(WITHIN)


def test_the_app_answers_after_a_reboot_and_no_request_fails(server: Server) -> None:
    """nginx starts before the app: requests wait for the app's socket, however long PostgreSQL
    takes."""
    release = server.release()
    slow = "/etc/systemd/system/postgresql@.service.d/slow.conf"
    server.run(f"printf '[Service]\\nExecStartPre=/bin/sleep 4\\n' > {slow}")
    answers: list[int | str] = []
    with polled(server, answers):
        lab("reboot", server.host.name)
        server.seconds_until_ready(60)
    server.run(f"rm {slow}; systemctl daemon-reload")
    assert set(answers) == {200}, answers[-20:]
    assert server.release() == release


@contextmanager
def polled(server: Server, answers: list[int | str]) -> Iterator[None]:
    """Poll the app; record the status of each response since nginx was last down."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(server.request("GET", "/health/live").status_code)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                answers.clear()  # nginx is down: only responses after the next boot count
            except httpx.ReadTimeout:
                pass  # on a slow machine the app takes longer than this client's timeout
            except httpx.HTTPError as error:
                answers.append(f"{type(error).__name__}: {error}")
            time.sleep(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module", params=["12", "13"])
def disk(copy: Callable[..., Server], request: pytest.FixtureRequest) -> Server:
    """A host with its own file system."""
    server = copy(request.param, "--disk", "6G")
    server.seconds_until_ready(30)
    return server


def test_the_app_answers_after_a_power_cut(disk: Server) -> None:
    server = disk
    created = server.create_link("https://example.com/kept").json()
    lab("poweroff", server.host.name, "--hard")
    lab("start", server.host.name)
    server.seconds_until_ready(30)
    assert server.request("GET", f"/{created['code']}").status_code == 307
    assert server.deploy()["success"] == []


FILL = """
for size in 2G 256M 32M 4M 512K 64K 4K; do
    n=0; while fallocate -l $size /var/lib/links/fill.$size.$n 2> /dev/null; do n=$((n+1)); done
done
"""
# Each switches to a new WAL segment, which needs disk space.
WRITE_LOG = "; ".join(
    ["runuser -u postgres -- psql -qAt -c 'create table if not exists t ()'"]
    + ["runuser -u postgres -- psql -qAt -c 'comment on table t is null; select pg_switch_wal()'"]
    * 6
)


def test_an_app_that_fills_the_disk_leaves_postgresql_its_reserve(disk: Server) -> None:
    try:
        disk.run(f"runuser -u links -- sh -c '{FILL}'; true")
        assert int(disk.run("stat -f -c %a /")) < 10, "the app filled what it may use"
        disk.run(f"cd /; {WRITE_LOG}")
        assert disk.create_link("https://example.com/full").status_code == httpx.codes.CREATED
        assert disk.run("grep -h PANIC /var/log/postgresql/*.log", check=False) == ""
        assert disk.deploy()["success"] == [], "a deploy that needs no space works"
        disk.run("onebox-release restart links")
    finally:
        disk.run("rm -f /var/lib/links/fill.*")


DRIFT = {
    "a role's attributes": 'runuser -u postgres -- psql -c "alter role links superuser"',
    "a role's password": "runuser -u postgres -- psql -c \"alter role links password 'x'\"",
    "a database's rights": 'runuser -u postgres -- psql -c "grant all on database links to public"',
    "nginx's configuration": "echo '# edited' >> /etc/onebox/nginx/sites/links.conf",
    "an extra site": "echo '# extra' > /etc/onebox/nginx/sites/extra.conf",
    "a secret's mode": "chmod 644 /etc/links/secrets.env",
    "a stopped nginx": "systemctl stop nginx",
    "a disabled unit": "systemctl disable links.service",
    "the firewall": "nft flush table inet onebox && nft add rule inet onebox input accept",
    "a removed package": "apt-get -qq remove -y unattended-upgrades",
    "the sandbox": "sed -i s/NoNewPrivileges=yes//"
    " /etc/systemd/system/links-web@$(basename $(readlink /srv/links/current)).service",
    "our program": "echo >> /usr/local/lib/onebox/programs/onebox_release/core/switch.py",
}


def test_a_deploy_fixes_drift(server: Server) -> None:
    rules = server.run("nft -t list table inet onebox")
    for command in DRIFT.values():
        server.run(command)
    fixed = server.deploy()["success"]
    assert len(fixed) == 10, fixed  # the release, too: its unit was edited
    assert server.deploy()["success"] == []
    assert "superuser" not in server.run(
        "runuser -u postgres -- psql -Atc \"select rolsuper from pg_roles where rolname='links'\""
    ).replace("f", "")
    assert server.run("nft -t list table inet onebox") == rules
