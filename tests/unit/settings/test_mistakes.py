"""How mistakes are reported: keys, types and ranges, and many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from settings.app import App
from settings.server import VM
from tests.unit.inventories import a_vm, an_app, report

Refusal = Callable[..., str]
OF_VM = ", ".join(sorted(VM.model_fields))
OF_APP = ", ".join(sorted(App.model_fields))
OF_TLS = "email, profile, server, server_ca"
OF_PROCESS = "alone, command, name, stop_signal, stop_timeout"
OF_WEB = (
    "graceful_timeout, keepalive, log_level, max_requests, max_requests_jitter, timeout,"
    " worker_memory, workers"
)
QUEUE = {"name": "queue", "command": "python -m links.queue"}
WHOLE = ("a whole number", "write a number without quotes")
TEXT = ("text in quotes", "put it in quotes")
BRACES = ("a dict of settings", "put its settings in braces")
BRACKETS = ("a list", "put it in square brackets")
PATH = ("a path in quotes", "write a path in quotes")
BOOL = ("True or False", "write True or False")


@pytest.mark.parametrize(
    ("vm", "path", "known", "fix"),
    [
        (a_vm(adress="x"), "adress", OF_VM, "write `address`"),
        (a_vm(banana="x"), "banana", OF_VM, "remove it"),
        (a_vm(an_app(domain="x")), "apps[0].domain", OF_APP, "write `domains`"),
        (a_vm(an_app(banana="x")), "apps[0].banana", OF_APP, "remove it"),
        (a_vm(tls={"mail": "x"}), "tls.mail", OF_TLS, "write `email`"),
        (a_vm(tls={"banana": "x"}), "tls.banana", OF_TLS, "remove it"),
        (a_vm(an_app(web={"worker": 1})), "apps[0].web.worker", OF_WEB, "write `workers`"),
        (a_vm(an_app(web={"banana": 1})), "apps[0].web.banana", OF_WEB, "remove it"),
        (
            a_vm(an_app(processes=[{**QUEUE, "comand": "x"}])),
            "apps[0].processes[0].comand",
            OF_PROCESS,
            "write `command`",
        ),
    ],
)
def test_an_unknown_key_is_refused(
    refusal: Refusal, vm: dict[str, Any], path: str, known: str, fix: str
) -> None:
    key = path.rpartition(".")[2]
    assert refusal(vm) == report(path, f"one of {known}", f"the unknown key `{key}`", fix)


def test_the_value_of_an_unknown_key_is_not_repeated(refusal: Refusal) -> None:
    assert "hidden" not in refusal(a_vm(an_app(secret={"STRIPE_KEY": "hidden"})))


@pytest.mark.parametrize("key", ["name", "source", "module", "domains"])
def test_a_missing_setting_of_an_app_is_refused(refusal: Refusal, key: str) -> None:
    message = report(f"apps[0].{key}", f"a value for `{key}`", "none", f"add `{key}`")
    assert refusal(a_vm(an_app(**{key: None}))) == message


@pytest.mark.parametrize("key", ["name", "command"])
def test_a_missing_setting_of_a_process_is_refused(refusal: Refusal, key: str) -> None:
    process = {name: value for name, value in QUEUE.items() if name != key}
    path = f"apps[0].processes[0].{key}"
    message = report(path, f"a value for `{key}`", "none", f"add `{key}`")
    assert refusal(a_vm(an_app(processes=[process]))) == message


@pytest.mark.parametrize("key", ["address", "apps"])
def test_a_missing_setting_of_a_server_is_refused(refusal: Refusal, key: str) -> None:
    vm = a_vm()
    del vm[key]
    assert refusal(vm) == report(key, f"a value for `{key}`", "none", f"add `{key}`")


@pytest.mark.parametrize(
    ("vm", "path", "found", "words"),
    [
        ("text", "the inventory", '"text"', BRACES),
        (None, "the inventory", "none", BRACES),
        ([], "the inventory", "[]", BRACES),
        (a_vm(apps="links"), "apps", '"links"', BRACKETS),
        (a_vm(apps=3), "apps", "3", BRACKETS),
        (a_vm(apps={}), "apps", "{}", BRACKETS),
        (a_vm(apps=None), "apps", "none", BRACKETS),
        (a_vm(apps=["links"]), "apps[0]", '"links"', BRACES),
        (a_vm(an_app(domains="a.example.com")), "apps[0].domains", '"a.example.com"', BRACKETS),
        (a_vm(an_app(domains=3)), "apps[0].domains", "3", BRACKETS),
        (a_vm(an_app(domains=[3])), "apps[0].domains[0]", "3", TEXT),
        (a_vm(an_app(name=3)), "apps[0].name", "3", TEXT),
        (a_vm(an_app(env={"A": 3})), "apps[0].env.A", "3", TEXT),
        (a_vm(an_app(env=[])), "apps[0].env", "[]", ("a dict", 'write it like {"KEY": "value"}')),
        (a_vm(an_app(source=3)), "apps[0].source", "3", PATH),
        (a_vm(an_app(build="x")), "apps[0].build", '"x"', BOOL),
        (
            a_vm(an_app(migrations_compatible="x")),
            "apps[0].migrations_compatible",
            '"x"',
            BOOL,
        ),
        (a_vm(an_app(processes="queue")), "apps[0].processes", '"queue"', BRACKETS),
        (a_vm(an_app(processes=["queue"])), "apps[0].processes[0]", '"queue"', BRACES),
        (a_vm(tls={"profile": 3}), "tls.profile", "3", TEXT),
        (a_vm(tls="x"), "tls", '"x"', BRACES),
        (a_vm(journal="big"), "journal", '"big"', WHOLE),
        (a_vm(journal=[]), "journal", "[]", WHOLE),
        (a_vm(journal=60.5), "journal", "60.5", (WHOLE[0], "write it without a fraction")),
    ],
)
def test_a_wrong_type_is_refused(
    refusal: Refusal, vm: Any, path: str, found: str, words: tuple[str, str]
) -> None:
    expected, fix = words
    assert refusal(vm) == report(path, expected, found, fix)


@pytest.mark.parametrize(
    ("vm", "path", "found", "least"),
    [
        (a_vm(ssh_port=0), "ssh_port", 0, 1),
        (a_vm(journal=49), "journal", 49, 50),
        (a_vm(postgresql={"max_connections": 9}), "postgresql.max_connections", 9, 10),
        (a_vm(an_app(web={"workers": 0})), "apps[0].web.workers", 0, 1),
        (a_vm(an_app(drain=-1)), "apps[0].drain", -1, 1),
        (a_vm(an_app(keep_releases=1)), "apps[0].keep_releases", 1, 2),
        (a_vm(an_app(settle=-1)), "apps[0].settle", -1, 0),
        (a_vm(an_app(watch=-1)), "apps[0].watch", -1, 0),
        (
            a_vm(an_app(processes=[{**QUEUE, "stop_timeout": 0}])),
            "apps[0].processes[0].stop_timeout",
            0,
            1,
        ),
    ],
)
def test_too_small_a_number_is_refused(
    refusal: Refusal, vm: dict[str, Any], path: str, found: int, least: int
) -> None:
    message = report(path, f"{least} or more", str(found), f"write {least} or more")
    assert refusal(vm) == message


@pytest.mark.parametrize(
    ("vm", "path", "found", "most"),
    [
        (a_vm(ssh_port=65_536), "ssh_port", 65_536, 65_535),
        (a_vm(an_app(web={"workers": 65})), "apps[0].web.workers", 65, 64),
        (a_vm(an_app(start_timeout=86_401)), "apps[0].start_timeout", 86_401, 86_400),
        (a_vm(an_app(settle=601)), "apps[0].settle", 601, 600),
        (a_vm(an_app(watch=3601)), "apps[0].watch", 3601, 3600),
    ],
)
def test_too_big_a_number_is_refused(
    refusal: Refusal, vm: dict[str, Any], path: str, found: int, most: int
) -> None:
    assert refusal(vm) == report(path, f"{most} or less", str(found), f"write {most} or less")


@pytest.mark.parametrize(
    ("vm", "path"),
    [(a_vm(apps=[]), "apps"), (a_vm(an_app(domains=[])), "apps[0].domains")],
)
def test_an_empty_list_is_refused(refusal: Refusal, vm: dict[str, Any], path: str) -> None:
    assert refusal(vm) == report(path, "a list of 1 or more", "[]", "put at least 1 in it")


def test_a_choice_that_is_not_there_is_refused(refusal: Refusal) -> None:
    assert refusal(a_vm(an_app(database="mysql"))) == report(
        "apps[0].database", "'local', 'external' or 'none'", '"mysql"', "write one of these"
    )


@pytest.mark.parametrize(
    ("secrets", "found"), [([], "no secrets"), (["API_KEY", "OTHER"], "API_KEY, OTHER")]
)
def test_an_external_database_without_its_address_is_refused(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch, secrets: list[str], found: str
) -> None:
    for secret in secrets:
        monkeypatch.setenv(f"LINKS_{secret}", "hidden")
    assert refusal(a_vm(an_app(database="external", secrets=secrets))) == report(
        "apps[0].database",
        "DATABASE_URL among the app's secrets",
        found,
        'add "DATABASE_URL" to `secrets`, or write "local" for a database on the server',
    )


def test_two_apps_of_one_name_are_refused(refusal: Refusal) -> None:
    assert refusal(a_vm(an_app(), an_app(domains=["b.example.com"]))) == report(
        "apps[1].name",
        "a name that no other app has",
        '"links", which apps[0].name has',
        "give one of the two another name",
    )


def test_two_apps_of_one_domain_are_refused(refusal: Refusal) -> None:
    other = an_app(name="other", domains=["b.example.com", "links.example.com"])
    assert refusal(a_vm(an_app(), other)) == report(
        "apps[1].domains[1]",
        "a domain that no other app has",
        '"links.example.com", which apps[0].domains[0] has',
        "give one of the two another domain",
    )


def test_a_tuple_of_apps_is_searched_too(refusal: Refusal) -> None:
    apps = (an_app(), an_app(domains=["b.example.com"]))
    assert "which apps[0].name has" in refusal(a_vm(apps=apps))


def test_the_server_is_named_where_there_are_several(refusal: Refusal) -> None:
    broken = a_vm(an_app(name="Links"), an_app(name="Links", domains=["b.example.com"]))
    message = refusal(a_vm(), broken)
    assert "\n\nservers[1].apps[0].name\n" in message
    assert '"Links", which servers[1].apps[0].name has' in message


def test_two_servers_of_one_address_are_refused(refusal: Refusal) -> None:
    assert refusal(a_vm(), a_vm(address="203.0.113.11"), a_vm()) == report(
        "servers[2].address",
        "an address that no other server has",
        '"203.0.113.10"',
        "move its apps into servers[0], which has the same address",
    )


def test_a_long_value_is_cut(refusal: Refusal) -> None:
    found = next(line for line in refusal(a_vm(address="-" * 200)).splitlines() if "found" in line)
    assert found == f'  found:    "{"-" * 76}...'


def test_all_mistakes_are_reported_at_once(refusal: Refusal) -> None:
    vm = a_vm(an_app(name="Links", helth="/"), an_app(name="other"), ssh_port=0)
    assert refusal(vm) == (
        "inventory.py has 4 mistakes; no server was contacted.\n"
        "\n"
        "ssh_port\n"
        "  expected: 1 or more\n"
        "  found:    0\n"
        "  fix:      write 1 or more\n"
        "\n"
        "apps[0].name\n"
        "  expected: 2 to 23 lower-case letters, digits and dashes, starting with a letter\n"
        '  found:    "Links"\n'
        '  fix:      choose a name such as "links"\n'
        "\n"
        "apps[0].helth\n"
        f"  expected: one of {OF_APP}\n"
        "  found:    the unknown key `helth`\n"
        "  fix:      write `health`\n"
        "\n"
        "apps[1].domains[0]\n"
        "  expected: a domain that no other app has\n"
        '  found:    "links.example.com", which apps[0].domains[0] has\n'
        "  fix:      give one of the two another domain\n"
    )
