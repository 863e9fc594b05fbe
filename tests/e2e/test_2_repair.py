"""Whatever is killed comes back by itself; what was changed by hand is mended by a deploy."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from tests.server import Server, lab

WITHIN = 10  # seconds

KILLS = {
    "a Gunicorn worker": "kill -9 $(pgrep -f '[-]m gunicorn' | tail -n 1)",
    "Gunicorn's master": "kill -9 $(systemctl show --value -p MainPID $(systemctl list-units"
    " --plain --no-legend 'links-web@*.service' | cut -d' ' -f1))",
    "nginx's master": "kill -9 $(cat /run/nginx.pid)",
    "all of nginx": "pkill -9 nginx",
    "PostgreSQL's postmaster": "kill -9 $(head -n 1 /var/lib/postgresql/*/main/postmaster.pid)",
}
# The brackets keep the pattern from matching the shell that looks.
PROCESSES = "pgrep -f '[-]m gunicorn|[n]ginx: master|[/]bin/postgres'"


@pytest.mark.parametrize("what", KILLS)
def test_what_is_killed_comes_back(server: Server, what: str) -> None:
    before = server.run(PROCESSES)
    assert before == server.run(PROCESSES)
    server.run(KILLS[what])
    server.seconds_until_ready(WITHIN)
    assert server.run(PROCESSES) != before, "nothing was killed"
    # PostgreSQL may be noticed to be gone only now; it is back in time all the same.
    deadline = time.monotonic() + WITHIN
    while server.create_link("https://example.com/").status_code != httpx.codes.CREATED:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_it_restarts_for_ever(server: Server) -> None:
    """More often than systemd's default limit of five starts in ten seconds allows."""
    for _ in range(6):
        server.run(KILLS["all of nginx"], check=False)
        server.run("systemctl show --value -p ActiveState nginx")
        server.seconds_until_ready(WITHIN)


def test_the_app_answers_after_a_reboot(server: Server) -> None:
    release = server.release()
    lab("reboot", server.host.name)
    server.seconds_until_ready(30)
    assert server.release() == release


@pytest.mark.parametrize("debian", ["12", "13"])
def test_the_app_answers_after_a_power_cut(copy: Callable[..., Server], debian: str) -> None:
    server = copy(debian, "--disk", "6G")
    server.seconds_until_ready(30)
    created = server.create_link("https://example.com/kept").json()
    lab("poweroff", server.host.name, "--hard")
    lab("start", server.host.name)
    server.seconds_until_ready(30)
    assert server.request("GET", f"/{created['code']}").status_code == 307
    assert server.deploy()["success"] == []


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
    "our program": "echo >> /usr/local/lib/onebox/programs/onebox_release/switch.py",
}


def test_a_deploy_mends_what_was_changed_by_hand(server: Server) -> None:
    for command in DRIFT.values():
        server.run(command)
    mended = server.deploy()["success"]
    assert len(mended) == 10, mended  # the release, too: its unit was edited
    assert server.deploy()["success"] == []
    assert "superuser" not in server.run(
        "runuser -u postgres -- psql -Atc \"select rolsuper from pg_roles where rolname='links'\""
    ).replace("f", "")
    assert server.run("nft list table inet onebox").count("accept") == 4
