"""`make soak-unattended`: monitoring reports problems, and nothing else.

Each problem is caused for real, with two exceptions: memory and the clock belong to the machine
that runs the lab, so a file is mounted over /proc/meminfo as LXC does, and the clock that the
server compares with is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.faults.probed import Probed
from tests.lab_server import Server, lab
from tests.receivers import PASSWORD, Receivers, receivers

EVERY = 10  # seconds between two rounds
SLACK = 6  # seconds that a round and a notification may take on a busy machine
LATELY = 12 * EVERY
MINUTES = 60
QUIET_EVERY = 60
LIVE = "$(basename $(readlink /srv/probe/current))"
TLS = "/etc/letsencrypt/live/probe"


@dataclass
class Unattended:
    """A server with the probe, and the receivers of its notifications."""

    probe: Probed
    inbox: Receivers

    @property
    def server(self) -> Server:
        """Return the server."""
        return self.probe.server

    def wait_until_quiet(self) -> None:
        """Wait until no problem is open or suspected, then clear what was received."""
        self.server.wait_for("onebox-checks status | grep -q ' no open'", 4 * EVERY + LATELY)
        time.sleep(EVERY)
        self.inbox.clear()

    def measure(
        self, check: str, cause: Callable[[], object], fix: Callable[[], object], **limits: float
    ) -> dict[str, Any]:
        """Cause a problem and fix it; return the seconds until each notification."""
        self.wait_until_quiet()
        try:
            cause()
            rounds = limits.get("rounds", 2) * EVERY + SLACK
            raised = self.inbox.wait(lambda: self.inbox.events("raised", check), rounds)
            self.inbox.wait(lambda: self.inbox.mails, SLACK)
            message = self.inbox.first("raised", check)["what"]
        finally:
            fix()
        resolved = self.inbox.wait(
            lambda: self.inbox.events("resolved", check), limits.get("resolved", 3 * EVERY) + SLACK
        )
        return {
            "seconds_until_told": round(raised, 1),
            "seconds_until_over": round(resolved, 1),
            "told": message.split("\n")[0],
        }


@pytest.fixture(scope="module")
def unattended(
    copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Unattended]:
    """The probe on a server with its own disk."""
    probe = Probed.on(copy("12", "--disk", "6G"), tmp_path_factory.mktemp("unattended"))
    with (
        receivers(tmp_path_factory.mktemp("receivers")) as inbox,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("ONEBOX_SMTP_PASSWORD", PASSWORD)
        inbox.trusted_by(probe.server)
        probe.server.entry |= {
            "notify": inbox.settings(),
            "checks": {"every": EVERY, "ping": f"{inbox.url}/ping"},
        }
        probe.release()
        yield Unattended(probe, inbox)


OLD = f"mkdir -p /var/tmp/tls && cp -L {TLS}/fullchain.pem {TLS}/privkey.pem /var/tmp/tls"
KILLER = (
    "systemd-run --quiet --unit=killer sh -c"
    " 'while :; do systemctl kill -s KILL \"probe-worker@*\"; sleep 1; done'"
)
FILLER = (
    "systemd-run --quiet --unit=filler sh -c"
    " 'while :; do head -c 8M /dev/urandom >> /var/growing; sync; sleep 1; done'"
)
MEMINFO = (
    "sed 's/^MemAvailable.*/MemAvailable: 100000 kB/; s/^SwapFree.*/SwapFree: 0 kB/'"
    " /proc/meminfo > /var/tmp/meminfo && mount --bind /var/tmp/meminfo /proc/meminfo"
)
INODES = (
    "mount -t tmpfs -o nr_inodes=1000 few /boot && mkdir /boot/many && cd /boot/many"
    " && seq 950 | xargs touch"
)
# By problem: its check, how to cause it, how to fix it, and limits other than the usual ones.
CAUSES: dict[str, tuple[str, str, str, dict[str, float]]] = {
    "nginx is stopped": ("answer", "systemctl stop nginx", "systemctl start nginx", {}),
    "the app hangs": (
        "answer",
        f"systemctl kill -s STOP probe-web@{LIVE}",
        f"systemctl kill -s CONT probe-web@{LIVE}",
        {"rounds": 4, "resolved": 5 * EVERY},  # a round that waits for an answer takes 5 s longer
    ),
    "a process is stopped": (
        "release",
        f"systemctl stop probe-worker@{LIVE}",
        f"systemctl start probe-worker@{LIVE}",
        {},
    ),
    "a process ends again and again": (
        "release",
        KILLER,
        "systemctl stop killer",
        {"rounds": 4, "resolved": LATELY + 3 * EVERY},  # five times 3 s first
    ),
    "a unit failed": (
        "unit",
        "systemd-run --quiet --unit=broken false",
        "systemctl reset-failed broken",
        {},
    ),
    "the database is stopped": (
        "unit",
        "systemctl stop postgresql@15-main",
        "systemctl start postgresql@15-main",
        {"resolved": 4 * EVERY},
    ),
    "the disk is full": (
        "disk",
        "fallocate -l $(($(df --output=avail -B1 / | tail -1) - 300000000)) /ballast",
        "rm /ballast",
        {},
    ),
    "the inodes are used up": (
        "disk",
        INODES,
        "rm -r /boot/many",
        {},
    ),
    "the disk fills": (
        "disk",
        FILLER,
        "systemctl stop filler; rm /var/growing",
        {"rounds": 15, "resolved": LATELY + 3 * EVERY},  # a rate takes an hour's rounds to measure
    ),
    "memory is short": ("memory", MEMINFO, "umount /proc/meminfo", {}),
    "an update waits for a reboot": (
        "reboot",
        "/etc/kernel/postinst.d/unattended-upgrades",
        "rm /run/reboot-required*",
        {},
    ),
    "a file was edited": (
        "drift",
        "cp -a /etc/onebox/probe.json /var/tmp; sed -i 's/: 2/: 3/' /etc/onebox/probe.json",
        "mv /var/tmp/probe.json /etc/onebox/probe.json",
        {},
    ),
}


@pytest.mark.parametrize("what", CAUSES)
def test_each_problem_and_its_resolution_are_reported(
    unattended: Unattended, figures: dict[str, Any], what: str
) -> None:
    check, cause, fix, limits = CAUSES[what]
    run = unattended.server.run
    figures |= unattended.measure(check, lambda: run(cause), lambda: run(fix), **limits)


def test_a_certificate_that_was_not_renewed(
    unattended: Unattended, figures: dict[str, Any], tmp_path: Path
) -> None:
    server = unattended.server
    now = datetime.now(UTC)
    old = trustme.CA().issue_cert(
        str(unattended.probe.server.app["domains"][0]),
        not_before=now - timedelta(days=70),
        not_after=now + timedelta(days=20),
    )
    old.private_key_and_cert_chain_pem.write_to_path(tmp_path / "old.pem")

    def cause() -> None:
        server.run(f"{OLD}; cat > /var/tmp/old.pem", given=(tmp_path / "old.pem").read_text())
        server.run(
            f"for file in fullchain privkey; do cp /var/tmp/old.pem {TLS}/$file.pem; done;"
            " systemctl reload nginx"
        )

    def fix() -> None:
        server.run(f"cp /var/tmp/tls/*.pem {TLS}/ && systemctl reload nginx")

    figures |= unattended.measure("certificate", cause, fix)


def test_a_clock_that_is_wrong(unattended: Unattended, figures: dict[str, Any]) -> None:
    inbox = unattended.inbox

    def set_clock(ahead: float) -> None:
        inbox.ahead = ahead

    # A round compares the clock at its end; the next one judges the result.
    limits = {"rounds": 3.0, "resolved": 4.0 * EVERY}
    figures |= unattended.measure("clock", lambda: set_clock(7200), lambda: set_clock(0), **limits)


def test_a_deploy_that_fails_and_one_that_is_rolled_back(
    unattended: Unattended, figures: dict[str, Any]
) -> None:
    probe = unattended.probe
    for kind, watch, result in (("import error", 2, "failed"), ("dies later", 30, "rolled back")):

        def cause(kind: str = kind, watch: int = watch) -> None:
            probe.server.app["watch"] = watch
            probe.change(kind)
            assert probe.deploy().returncode != 0
            probe.server.app["watch"] = 2

        measured = unattended.measure("deploy", cause, probe.release)
        assert result in measured["told"]
        figures[kind] = measured


def test_a_timer_that_fails_and_one_that_takes_too_long(
    unattended: Unattended, figures: dict[str, Any]
) -> None:
    app = unattended.server.app

    def schedule(command: str) -> None:
        timer = {"name": "tick", "command": command, "schedule": "*:*:0/5", "timeout": 2}
        app["timers"] = [timer]
        unattended.server.deploy()

    for command, word in (("exit 7", "exit-code"), ("sleep 30", "timeout")):
        cause = partial(schedule, command)
        measured = unattended.measure("timer", cause, partial(schedule, "true"))
        assert word in measured["told"]
        figures[command] = measured
    app["timers"] = []
    unattended.server.deploy()


def test_a_missed_run_is_caught_up_once(unattended: Unattended, figures: dict[str, Any]) -> None:
    """The server is off during several runs; then a run outlives its release, and completes."""
    server, probe = unattended.server, unattended.probe
    command = "date +%s >> /var/lib/probe/ran"
    server.app["timers"] = [{"name": "tick", "command": command, "schedule": "*:0/1"}]
    server.deploy()
    server.wait_for("test -s /var/lib/probe/ran", 70)
    lab("poweroff", server.host.name)
    time.sleep(150)
    lab("start", server.host.name)
    server.seconds_until_ready(30, "/ready")
    booted = int(server.run("date +%s"))
    time.sleep(20)
    ran = [int(at) for at in server.run("cat /var/lib/probe/ran").split()]
    early = [at for at in ran if booted - 20 <= at]
    figures |= {"runs": [at - booted for at in ran]}
    assert 1 <= len(early) <= 2, ran  # the missed run, and perhaps the current minute's
    slow = "echo $ONEBOX_RELEASE > /var/lib/probe/slow; sleep 40; echo $ONEBOX_RELEASE >>"
    server.app["timers"] = [
        {"name": "tick", "command": f"{slow} /var/lib/probe/slow", "schedule": "*:*:0/5"}
    ]
    server.app["keep_releases"] = 2
    probe.release()
    first = str(probe.status()["live"])
    server.wait_for(f"grep -q {first} /var/lib/probe/slow", 20)
    server.run("systemctl stop onebox-timer-probe-tick.timer")
    for _ in range(2):
        probe.release()
    assert first in server.run("ls /srv/probe/releases"), "a timer still runs in it"
    server.wait_for(f"test $(grep -c {first} /var/lib/probe/slow) = 2", 60)
    server.app["timers"] = []
    probe.release()
    probe.release()
    assert first not in server.run("ls /srv/probe/releases")


def test_a_dead_server_stops_its_pings(unattended: Unattended, figures: dict[str, Any]) -> None:
    unattended.wait_until_quiet()
    inbox = unattended.inbox
    inbox.wait(lambda: inbox.pings, 2 * EVERY + SLACK)
    lab("poweroff", unattended.server.host.name)
    inbox.clear()
    time.sleep(3 * EVERY)
    assert inbox.pings == []
    lab("start", unattended.server.host.name)
    figures["seconds_until_the_ping_is_back"] = round(inbox.wait(lambda: inbox.pings, 90), 1)
    assert inbox.posts == [], "a reboot is not reported"


def test_a_failed_notification_is_sent_later(
    unattended: Unattended, figures: dict[str, Any]
) -> None:
    unattended.wait_until_quiet()
    server, inbox = unattended.server, unattended.inbox
    inbox.broken = True
    reject = f"ip daddr {inbox.address} tcp dport {inbox.smtp_port} reject"
    table = "nft add table inet away && nft add chain inet away out"
    server.run(f"{table} '{{ type filter hook output priority 0; }}'")
    server.run(f"nft add rule inet away out {reject}")
    server.run("systemd-run --quiet --unit=broken false")
    time.sleep(3 * EVERY)
    assert (inbox.posts, inbox.mails) == ([], [])
    assert "could not notify by webhook" in server.run("onebox-checks status")
    inbox.broken = False
    figures["seconds_until_told"] = round(
        inbox.wait(lambda: inbox.events("raised", "unit"), EVERY + SLACK), 1
    )
    server.run("nft delete table inet away; systemctl reset-failed broken")
    inbox.wait(lambda: inbox.mails, 3 * EVERY + SLACK)


def test_quiet_minutes_raise_nothing(unattended: Unattended, figures: dict[str, Any]) -> None:
    """Light traffic, five deploys, a killed worker process, and a reboot."""
    server, probe, inbox = unattended.server, unattended.probe, unattended.inbox
    server.entry["checks"]["every"] = QUIET_EVERY
    probe.release()
    unattended.wait_until_quiet()
    begin, answers, failed = time.monotonic(), 0, 0
    events: list[Callable[[], object]] = [
        *[probe.release] * 5,
        lambda: server.run(f"systemctl kill -s KILL probe-worker@{LIVE}"),
        lambda: lab("reboot", server.host.name),
    ]
    for number, event in enumerate(events, 1):
        event()
        while time.monotonic() - begin < MINUTES * 60 * number / len(events):
            answers += 1
            with suppress(httpx.HTTPError):
                failed += server.request("GET", "/").status_code != httpx.codes.OK
            time.sleep(1)
    figures |= {
        "minutes": MINUTES,
        "rounds": len(inbox.pings),
        "requests": answers,
        "failed": failed,
        "messages": len(inbox.posts),
    }
    assert inbox.posts == []
    assert len(inbox.pings) >= 0.9 * MINUTES * 60 / QUIET_EVERY
