"""Each kind of value: what is refused, word for word, and what is let through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from settings.values import secret_prefix
from tests.unit.inventories import a_vm, an_app, read, report

Refusal = Callable[..., str]

NAME = "2 to 23 lower-case letters, digits and dashes, starting with a letter"
CHOOSE = 'choose a name such as "links"'
FREE = "a name that the server doesn't use"
DOMAIN = "a domain name in lower case, nothing else"
VARIABLE = "an environment variable's name in upper case"
LINE = "one line of text"
STRAIGHTEN = "remove line breaks and control characters"
SLASH = "a path that starts with a slash"
HOST = "an IP address, a host name or a Host of your ssh_config"
ACME = '"letsencrypt", "letsencrypt-staging" or the https:// URL of an ACME directory'


@pytest.mark.parametrize(
    ("name", "expected", "fix"),
    [
        ("Links", NAME, CHOOSE),
        ("l", NAME, CHOOSE),
        ("1links", NAME, CHOOSE),
        ("my_links", NAME, CHOOSE),
        ("links-", NAME, CHOOSE),
        ("links\n", NAME, CHOOSE),
        ("a" * 24, NAME, CHOOSE),
        ("postgres", FREE, 'choose another, such as "my-postgres"'),
        ("postgresql", FREE, 'choose another, such as "my-postgresql"'),
        ("news", FREE, 'choose another, such as "my-news"'),
        ("ssh", FREE, 'choose another, such as "my-ssh"'),
        ("public", FREE, 'choose another, such as "my-public"'),
        ("onebox-certbot", FREE, 'choose another, such as "my-onebox-certbot"'),
        ("systemd-journald", FREE, 'choose another, such as "my-systemd-journald"'),
        ("links-migrate", FREE, 'choose another, such as "my-links"'),
    ],
)
def test_a_bad_name_is_refused(refusal: Refusal, name: str, expected: str, fix: str) -> None:
    assert refusal(a_vm(an_app(name=name))) == report("apps[0].name", expected, f'"{name}"', fix)


@pytest.mark.parametrize("name", ["ab", "links", "my-news", "a" * 23, "app-2"])
def test_a_good_name_is_kept(folder: Path, name: str) -> None:
    app = read(folder, a_vm(an_app(name=name))).apps[0]
    assert app.name == name
    assert len(app.migrator) <= 32  # the most that a Linux user's name may have


@pytest.mark.parametrize(
    "name", ["Queue", "my-queue", "my_queue", "1queue", "", "a" * 17, "queue\n", "web", "migrate"]
)
def test_a_bad_name_of_a_process_is_refused(refusal: Refusal, name: str) -> None:
    process = {"name": name, "command": "x"}
    assert refusal(a_vm(an_app(processes=[process]))) == report(
        "apps[0].processes[0].name",
        'up to 16 lower-case letters and digits, not "web", "migrate" or "hook"',
        f'"{name}"',
        'write "worker"',
    )


def test_a_signal_that_does_not_ask_is_refused(refusal: Refusal) -> None:
    process = {"name": "queue", "command": "x", "stop_signal": "SIGKILL"}
    assert refusal(a_vm(an_app(processes=[process]))) == report(
        "apps[0].processes[0].stop_signal",
        "'SIGTERM', 'SIGINT' or 'SIGQUIT'",
        '"SIGKILL"',
        "write one of these",
    )


def test_a_good_process_is_kept(folder: Path) -> None:
    given = {
        "name": "a" * 16, "command": "x", "stop_signal": "SIGINT", "stop_timeout": 7, "alone": True,
    }  # fmt: skip
    [process] = read(folder, a_vm(an_app(processes=[given]))).apps[0].processes
    assert process.model_dump() == given


@pytest.mark.parametrize(
    ("domain", "suggestion"),
    [
        ("https://links.example.com/", "links.example.com"),
        ("Links.Example.com", "links.example.com"),
        ("links.example.com:443", "links.example.com"),
        ("links.example.com.", "links.example.com"),
        (" links.example.com", "links.example.com"),
        ("*.example.com", "example.com"),
        ("localhost", "links.example.com"),
        ("203.0.113.10", "links.example.com"),
        ("links_1.example.com", "links.example.com"),
        ("-links.example.com", "links.example.com"),
        ("links.example.com;", "links.example.com"),
        ("a" * 64 + ".example.com", "links.example.com"),
        ("münchen.example", "links.example.com"),
        ("", "links.example.com"),
    ],
)
def test_a_bad_domain_is_refused(refusal: Refusal, domain: str, suggestion: str) -> None:
    message = report("apps[0].domains[0]", DOMAIN, f'"{domain}"', f'write "{suggestion}"')
    assert refusal(a_vm(an_app(domains=[domain]))) == message


@pytest.mark.parametrize("domain", ["example.com", "a.b.c.example", "xn--mnchen-3ya.example"])
def test_a_good_domain_is_kept(folder: Path, domain: str) -> None:
    assert read(folder, a_vm(an_app(domains=[domain]))).apps[0].domains == [domain]


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("api_key", "API_KEY"),
        ("API-KEY", "API_KEY"),
        ("1API", "API"),
        ("A B", "A_B"),
        ("CLÉ", "CL_"),
        ("A=B", "A_B"),
        ("", "API_KEY"),
    ],
)
def test_a_bad_variable_is_refused(refusal: Refusal, variable: str, suggestion: str) -> None:
    message = report(f"apps[0].env.{variable}", VARIABLE, f'"{variable}"', f'write "{suggestion}"')
    assert refusal(a_vm(an_app(env={variable: "1"}))) == message


@pytest.mark.parametrize(
    ("value", "shown"), [("a\nb", '"a\nb"'), ("a\0b", '"a\0b"'), ("\x7f", '"\x7f"')]
)
def test_a_value_of_more_than_one_line_is_refused(refusal: Refusal, value: str, shown: str) -> None:
    message = report("apps[0].env.BANNER", LINE, shown, STRAIGHTEN)
    assert refusal(a_vm(an_app(env={"BANNER": value}))) == message


@pytest.mark.parametrize("path", ["health", "", "/health?x=1", "/a b", "/a;b", "http://a/b"])
def test_a_bad_health_path_is_refused(refusal: Refusal, path: str) -> None:
    message = report("apps[0].health", SLASH, f'"{path}"', 'write it like "/health/ready"')
    assert refusal(a_vm(an_app(health=path))) == message


@pytest.mark.parametrize("address", ["", "root@203.0.113.10", "203.0.113.10:22", "a b", "-oProxy"])
def test_a_bad_address_is_refused(refusal: Refusal, address: str) -> None:
    message = report("address", HOST, f'"{address}"', 'write it like "203.0.113.10"')
    assert refusal(a_vm(address=address)) == message


@pytest.mark.parametrize("address", ["203.0.113.10", "2001:db8::1", "box.example.com", "my-box"])
def test_a_good_address_is_kept(folder: Path, address: str) -> None:
    assert read(folder, a_vm(address=address)).address == address


@pytest.mark.parametrize("server", ["lets-encrypt", "http://ca.example/directory", "https://", ""])
def test_a_bad_acme_server_is_refused(refusal: Refusal, server: str) -> None:
    message = report("tls.server", ACME, f'"{server}"', 'write "letsencrypt"')
    assert refusal(a_vm(tls={"server": server})) == message


@pytest.mark.parametrize(
    ("server", "directory"),
    [
        ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
        ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        ("https://ca.example/directory", "https://ca.example/directory"),
    ],
)
def test_an_acme_server_is_its_directory(folder: Path, server: str, directory: str) -> None:
    assert read(folder, a_vm(tls={"server": server})).tls.server == directory


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"ssh_key": "keys/absent"}, "ssh_key"),
        ({"ssh_config": "keys/absent"}, "ssh_config"),
        ({"tls": {"server_ca": "keys/absent"}}, "tls.server_ca"),
    ],
)
def test_an_absent_file_is_refused(
    refusal: Refusal, folder: Path, changes: dict[str, Any], path: str
) -> None:
    file = str(folder / "keys/absent")
    message = report(path, "a file that exists", file, f"create {file}, or correct the path")
    assert refusal(a_vm(**changes)) == message


def test_a_path_of_a_user_that_is_not_there_is_refused(refusal: Refusal) -> None:
    message = report("ssh_key", "a path", "~nobody-at-all/key", "write the full path, without ~")
    assert refusal(a_vm(ssh_key="~nobody-at-all/key")) == message


def test_a_path_is_seen_from_the_inventory(folder: Path) -> None:
    (folder / "key").touch()
    vm = read(folder, a_vm(ssh_key="key"))
    assert vm.ssh_key == folder / "key"
    assert vm.apps[0].source == folder / "app"


def test_a_secret_without_a_value_is_refused(refusal: Refusal) -> None:
    message = report(
        "apps[0].secrets[0]",
        "a value for the secret STRIPE_KEY",
        "none",
        "set LINKS_STRIPE_KEY in the environment or in secrets.env",
    )
    assert refusal(a_vm(an_app(secrets=["STRIPE_KEY"]))) == message


def test_an_empty_secret_counts_as_none(refusal: Refusal, folder: Path) -> None:
    (folder / "secrets.env").write_text("LINKS_STRIPE_KEY=\n")
    assert "a value for the secret STRIPE_KEY" in refusal(a_vm(an_app(secrets=["STRIPE_KEY"])))


def test_a_secret_of_more_than_one_line_is_refused_unseen(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINKS_STRIPE_KEY", "sk_live\nhidden")
    message = report(
        "apps[0].secrets[0]",
        "one line of text in the secret STRIPE_KEY",
        "a value with control characters",
        "remove line breaks and control characters from LINKS_STRIPE_KEY",
    )
    assert refusal(a_vm(an_app(secrets=["STRIPE_KEY"]))) == message


def test_a_bad_name_of_a_secret_is_refused(refusal: Refusal) -> None:
    message = report("apps[0].secrets[0]", VARIABLE, '"stripe-key"', 'write "STRIPE_KEY"')
    assert refusal(a_vm(an_app(secrets=["stripe-key"]))) == message


@pytest.mark.parametrize(
    ("secrets", "path", "expected", "found", "fix"),
    [
        ({"KEY": "hidden"}, "apps[0].secrets", "a list", "a dict", "put it in square brackets"),
        ("hidden", "apps[0].secrets", "a list", "a str", "put it in square brackets"),
        (
            [{"KEY": "hidden"}],
            "apps[0].secrets[0]",
            "a secret's name in quotes",
            "a dict",
            'write it like "STRIPE_KEY"; its value goes to secrets.env',
        ),
    ],
)
def test_a_secret_written_into_the_inventory_is_not_repeated(
    refusal: Refusal, secrets: object, path: str, expected: str, found: str, fix: str
) -> None:
    assert refusal(a_vm(an_app(secrets=secrets))) == report(path, expected, found, fix)


def test_a_bad_name_of_the_app_is_told_without_its_secrets(refusal: Refusal) -> None:
    message = report("apps[0].name", NAME, '"Links"', CHOOSE)
    assert refusal(a_vm(an_app(name="Links", secrets=["STRIPE_KEY"]))) == message


@pytest.mark.parametrize(
    ("app", "prefix"), [("links", "LINKS_"), ("my-app", "MY_APP_"), ("a-b-2", "A_B_2_")]
)
def test_a_secret_is_prefixed_with_its_app(app: str, prefix: str) -> None:
    assert secret_prefix(app) == prefix


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ci@example.com"


@pytest.mark.parametrize(
    "key",
    [
        "AAAAC3NzaC1lZDI1NTE5AAAAIJ",
        f'command="sh" {KEY}',
        f"{KEY}\n{KEY}",
        f'{KEY} "',
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_deploy_key_is_one_public_key_without_options(refusal: Refusal, key: str) -> None:
    message = refusal(a_vm(deploy_keys=[{"key": key, "apps": ["links"]}]))
    assert "one public key, as in its .pub file" in message
    assert "PRIVATE" not in message


@pytest.mark.parametrize(
    ("app", "changes", "expected"),
    [
        ("shop", {}, "names of this server's apps"),
        ("links", {"build": True}, "a key could run code while packages are installed"),
    ],
)
def test_a_deploy_key_is_for_apps_of_the_server_that_build_nothing(
    refusal: Refusal, app: str, changes: dict[str, bool], expected: str
) -> None:
    vm = a_vm(an_app(**changes), deploy_keys=[{"key": KEY, "apps": [app]}])
    assert expected in refusal(vm)
