"""Monitoring reports problems and their resolution; timers run in the live release."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab_server import Server
from tests.receivers import PASSWORD, Receivers, receivers, text_of

EVERY = 5  # seconds between two rounds
# A timer may write to its app's folder, and nowhere else.
TRIES = (
    "touch /var/tmp/tick; touch /srv/links/tick 2> /dev/null && echo open > /var/lib/links/tick;"
    " echo $ONEBOX_RELEASE $(id -un) >> /var/lib/links/tick"
)
TICK = {"name": "tick", "command": TRIES, "schedule": "*:*:0/2"}
SORRY = {"name": "sorry", "command": "echo so sorry; exit 7", "schedule": "*:*:0/2"}
HOOKS = {
    "before": "echo before $ONEBOX_HOOK_RELEASE >> /var/lib/links/hooks; exit 1",
    "after": 'echo "after $ONEBOX_HOOK_RELEASE" >> /var/lib/links/hooks; sleep 60',
    "failed": 'echo "failed: $ONEBOX_HOOK_WHY" >> /var/lib/links/hooks',
    "timeout": 2,
}


@dataclass
class Monitored:
    """A server with monitoring, and the receivers of its notifications."""

    server: Server
    inbox: Receivers


@pytest.fixture(scope="module")
def monitored(
    copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Monitored]:
    server = copy("12", settle=False)
    with (
        receivers(tmp_path_factory.mktemp("receivers")) as inbox,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("ONEBOX_SMTP_PASSWORD", PASSWORD)
        environment.setenv("ONEBOX_PING", f"{inbox.url}/ping")
        inbox.trusted_by(server)
        server.entry |= {
            "notify": inbox.settings(),
            "checks": {"every": EVERY, "ping": "PING"},
        }
        server.app["timers"] = [TICK, SORRY]
        server.deploy()
        yield Monitored(server, inbox)


def test_a_problem_and_its_resolution_are_reported(monitored: Monitored) -> None:
    server, inbox = monitored.server, monitored.inbox
    inbox.wait(lambda: inbox.pings, 3 * EVERY)
    server.run("systemctl stop nginx")
    inbox.wait(lambda: inbox.events("raised", "answer"), 3 * EVERY)
    inbox.wait(lambda: inbox.mails, EVERY)
    problem = inbox.first("raised", "answer")
    mail = next(mail for mail in inbox.mails if problem["what"] in text_of(mail))
    text = text_of(mail)
    assert mail["To"] == "you@example.com"
    for word in (
        problem["what"],
        problem["do"],
        "Server    " + server.host.name,
        "docs/checks.md, answer",
    ):
        assert word in text
    status = json.loads(server.run("onebox-release status links --json"))
    assert "answer:links" in {p["key"] for p in status["data"]["problems"]["open"]}
    assert server.domain in server.run("onebox-checks status")
    inbox.pings.clear()
    server.run("systemctl start nginx")
    inbox.wait(lambda: inbox.events("resolved", "answer"), 4 * EVERY)
    inbox.wait(lambda: inbox.pings, 2 * EVERY)
    assert len(inbox.events("raised", "answer")) == 1


def test_a_timer_is_confined_and_its_failure_is_reported(monitored: Monitored) -> None:
    server, inbox = monitored.server, monitored.inbox
    server.wait_for(f"grep -q '{server.release()} links' /var/lib/links/tick", 10)
    assert "open" not in server.run(
        "cat /var/lib/links/tick; ls /var/tmp/tick && echo open", check=False
    )
    status: dict[str, Any] = json.loads(server.run("onebox-release status links --json"))
    runs = status["data"]["timers"]
    assert runs["tick"]["release"] == server.release()
    assert {name: (run["result"], run["exit"]) for name, run in runs.items()} == {
        "tick": ("success", 0),
        "sorry": ("exit-code", 7),
    }
    assert "so sorry" in inbox.first("raised", "timer")["what"]
    # It runs every two seconds, and systemd resets each failed run a moment after its end.
    server.wait_for('test -z "$(systemctl --failed --no-legend)"', 10)


def test_timers_and_hooks_follow_the_release(monitored: Monitored) -> None:
    """One hook fails and one times out; the deploy succeeds all the same."""
    server, inbox = monitored.server, monitored.inbox
    server.app.update({"hooks": HOOKS, "timers": [TICK], "env": {"ANOTHER": "release"}})
    before = server.release()
    server.deploy()
    live = server.release()
    assert live != before
    assert server.run("cat /var/lib/links/hooks") == f"before {live}\nafter {live}"
    server.wait_for(f"grep -q '{live} links' /var/lib/links/tick", 10)
    assert "sorry" not in server.run("systemctl list-timers --all; ls /etc/systemd/system")
    assert server.run("systemctl --failed --no-legend") == ""
    inbox.wait(lambda: inbox.events("resolved", "timer"), 3 * EVERY)
    assert server.deploy()["success"] == []


def test_a_failed_deploy_is_reported_and_runs_its_hook(monitored: Monitored) -> None:
    server, inbox = monitored.server, monitored.inbox
    live = server.release()
    server.app.update({"env": {"DATABASE_URL": "postgresql://nowhere/at-all"}, "start_timeout": 3})
    assert server.pyinfra("-y").returncode != 0
    assert "failed: Release" in server.run("cat /var/lib/links/hooks")
    inbox.wait(lambda: inbox.events("raised", "deploy"), 2 * EVERY)
    assert f"Release {live} serves" in inbox.first("raised", "deploy")["what"]


def test_a_user_can_send_a_test_notification(monitored: Monitored) -> None:
    server, inbox = monitored.server, monitored.inbox
    inbox.clear()
    server.run("onebox-checks test")
    inbox.wait(lambda: inbox.mails and inbox.posts, 5)
    inbox.broken = True
    assert "failed" in server.run("onebox-checks test 2>&1 || echo failed")
    inbox.broken = False


def test_secrets_of_notifications_are_readable_by_root_only(monitored: Monitored) -> None:
    server = monitored.server
    assert server.run("stat -c %a:%U /etc/onebox/checks/settings.json") == "600:root"
    assert server.run("runuser -u onebox-checks -- cat /etc/onebox/checks/*", check=False) == ""
    assert PASSWORD not in server.run("cat /var/lib/onebox-checks/*; journalctl -u onebox-checks")


# Gives everything the names that an older onebox used.
OLDER = r"""
set -e
cd /etc/systemd/system
older() {
    sed -e 's/onebox-checks/onebox-watch/g; s/onebox-timer-/onebox-job-/g' \
        -e 's/onebox-release timer /onebox-release job /; s|onebox/checks|onebox/watch|g'
}
replace() {
    older < "$1" > /root/new && chmod --reference="$1" /root/new
    rm "$1" && mv /root/new "$(echo "$1" | older)"
}
systemctl disable --quiet --now onebox-checks.timer onebox-timer-links-tick.timer
until systemctl show -p ActiveState onebox-checks.service | grep -qx ActiveState=inactive; do
    sleep 0.2
done
usermod --login onebox-watch onebox-checks
groupmod --new-name onebox-watch onebox-checks
replace /etc/sysusers.d/onebox-checks.conf
for unit in onebox-checks.* onebox-timer-* onebox-updates.service; do replace $unit; done
replace /var/lib/systemd/timers/stamp-onebox-timer-links-tick.timer
mv /etc/onebox/checks /etc/onebox/watch
for file in settings.json manifest; do replace /etc/onebox/watch/$file; done
mv /var/lib/onebox-checks /var/lib/onebox-watch
mv /run/onebox-checks /run/onebox-watch
mv /var/lib/onebox/links/timers /var/lib/onebox/links/jobs
mv /usr/local/bin/onebox-checks /usr/local/bin/onebox-watch
systemctl daemon-reload
systemctl enable --quiet --now onebox-watch.timer onebox-job-links-tick.timer
"""
FOLDERS = "/etc /run /usr/local /var/lib"
OLD_NAMES = f"find {FOLDERS} -xdev '(' -name '*onebox-watch*' -o -name '*onebox-job-*' ')'"


def test_names_of_an_older_onebox_are_converted_by_a_deploy_that_fails(
    monitored: Monitored,
) -> None:
    server, inbox = monitored.server, monitored.inbox
    server.run(OLDER)
    # A problem that was notified is not notified again.
    opened = json.loads(server.run("cat /var/lib/onebox-watch/state.json"))["data"]["open"]
    assert "deploy:links" in opened
    server.app.update({"env": {"DATABASE_URL": "postgresql://nowhere/at-all"}, "start_timeout": 3})
    inbox.clear()
    assert server.pyinfra("-y").returncode != 0
    assert server.run(OLD_NAMES) == ""
    written = server.run("cat /var/lib/links/tick")
    server.wait_for(f"test $(wc -l < /var/lib/links/tick) -gt {len(written.splitlines())}", 10)
    inbox.wait(lambda: inbox.pings or inbox.events("raised", "deploy"), 4 * EVERY)
    assert "deploy:links" in server.run("cat /var/lib/onebox-checks/state.json")
    server.app.update({"env": {}, "start_timeout": 60})
    server.deploy()
    assert server.deploy()["success"] == []
    assert server.run("ls /var/lib/onebox/links") == server.run(
        "ls /var/lib/onebox/links | grep -vx jobs"
    )
