"""Settings of notifications: refused values, and secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.monitoring import configuration
from tests.unit.hosts import BOOKWORM
from tests.unit.inventories import a_vm, an_app, read, report

Refusal = Callable[..., str]
EMAIL = {"to": ["you@example.com"], "sender": "box@example.com", "server": "smtp.example.com"}
HIDDEN = "https://hooks.example.com/T0/secret"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBOX_WEBHOOK", HIDDEN)
    monkeypatch.setenv("ONEBOX_SMTP_PASSWORD", "pa$$")


@pytest.mark.usefixtures("secrets")
def test_secrets_are_found_and_reach_nothing_but_the_servers_file(folder: Path) -> None:
    notify = {"email": {**EMAIL, "user": "u", "password": "SMTP_PASSWORD"}, "webhook": "WEBHOOK"}
    vm = read(folder, a_vm(notify=notify, checks={"ping": "https://ping.example.com/x"}))
    assert HIDDEN not in str(vm) + vm.model_dump_json()
    assert "pa$$" not in str(vm) + vm.model_dump_json()
    data = configuration(vm, BOOKWORM).document()["data"]
    assert (data["webhook"], data["ping"]) == (HIDDEN, "https://ping.example.com/x")
    assert (data["email"]["password"], data["email"]["port"]) == ("pa$$", 587)


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_is_what_the_security_has(folder: Path, security: str, port: int) -> None:
    def email(**changes: Any) -> Any:
        found = read(folder, a_vm(notify={"email": {**EMAIL, "security": security, **changes}}))
        return found.notify.email

    assert email().port == port
    assert email(port=2525).port == 2525


@pytest.mark.parametrize("value", ["ftp://x", "hooks.example.com", "https://u:p@x/", "a b", 7])
def test_an_address_that_is_none_is_refused_unseen(refusal: Refusal, value: object) -> None:
    message = refusal(a_vm(notify={"webhook": value}))
    assert "notify.webhook\n  expected: an https:// URL, or the name of a secret" in message
    assert "found:    something else" in message


def test_a_secret_without_a_value_is_refused_by_its_variable(refusal: Refusal) -> None:
    assert refusal(a_vm(checks={"ping": "MY_PING"})) == report(
        "checks.ping",
        "a value for the secret MY_PING",
        "none",
        "set ONEBOX_MY_PING in the environment or in secrets.env",
    )


def test_a_password_in_place_of_its_name_is_not_repeated(refusal: Refusal) -> None:
    message = refusal(a_vm(notify={"email": {**EMAIL, "password": "hunter2"}}))
    assert "hunter2" not in message
    assert 'write it like "SMTP_PASSWORD"' in message


@pytest.mark.parametrize("value", ["you", "a@b@c", "You <you@example.com>", ""])
def test_a_bad_address_of_a_person_is_refused(refusal: Refusal, value: str) -> None:
    assert refusal(a_vm(notify={"email": {**EMAIL, "to": [value]}})) == report(
        "notify.email.to[0]",
        "an e-mail address, nothing else",
        f'"{value}"',
        'write it like "you@example.com"',
    )


def test_the_units_that_should_be_up(folder: Path) -> None:
    timer = {"name": "report", "command": "x", "schedule": "daily"}
    vm = read(folder, a_vm(an_app(timers=[timer])))
    data = configuration(vm, BOOKWORM).document()["data"]
    assert data["units"] == [
        "nginx.service",
        "onebox-firewall.service",
        "onebox-certbot.timer",
        "onebox-logrotate.timer",
        "postgresql@15-main.service",
    ]
    assert data["apps"] == {"links": ["links.service", "onebox-timer-links-report.timer"]}
