"""Settings as a whole: frozen, secret, and turned into pyinfra's hosts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from settings.app import App, Process, Web
from settings.exit_codes import REFUSED
from settings.secrets import read_env_file
from settings.server import TLS, VM, PostgreSQL, servers
from settings.transport import no_delay
from tests.unit.inventories import a_vm, an_app, read, report

Refusal = Callable[..., str]

HIDDEN = "sk_live_a1b2c3"
WITH_SECRET = an_app(secrets=["STRIPE_KEY"])


@pytest.fixture
def secret(folder: Path) -> Path:
    """Return a secrets.env with the secret of the app."""
    path = folder / "secrets.env"
    path.write_text(f"# of the app\n\nLINKS_STRIPE_KEY={HIDDEN}\nOTHER=1\n")
    return path


def value_of(vm: VM) -> str:
    [kept] = vm.apps[0].secrets
    return kept.value.get_secret_value()


@pytest.mark.usefixtures("secret")
def test_a_secret_is_read_from_secrets_env(folder: Path) -> None:
    assert value_of(read(folder, a_vm(WITH_SECRET))) == HIDDEN


@pytest.mark.usefixtures("secret")
def test_the_environment_wins_over_secrets_env(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINKS_STRIPE_KEY", "newer")
    assert value_of(read(folder, a_vm(WITH_SECRET))) == "newer"


def test_each_environment_has_its_own_secrets_and_no_others(
    folder: Path, secret: Path, refusal: Callable[..., str]
) -> None:
    vm = a_vm(WITH_SECRET, environment="staging")
    assert "in the environment or in secrets.staging.env" in refusal(vm)
    secret.with_name("secrets.staging.env").write_text("LINKS_STRIPE_KEY=sk_test\n")
    assert value_of(read(folder, vm)) == "sk_test"
    assert value_of(read(folder, a_vm(WITH_SECRET))) == HIDDEN


def test_an_environments_name_leads_to_no_other_folder(refusal: Callable[..., str]) -> None:
    assert 'write "production" or "staging"' in refusal(a_vm(environment="../up"))


def test_ci_can_say_which_ssh_config_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBOX_SSH_CONFIG", "/run/config")
    [(_, data)] = servers(a_vm(), beside=str(folder / "inventory.py"))
    assert data["ssh_config_file"] == "/run/config"


def test_the_prefix_of_a_name_with_dashes_has_underscores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SHORT_LINKS_STRIPE_KEY", HIDDEN)
    app = an_app(name="my-short-links", secrets=["STRIPE_KEY"])
    assert value_of(read(folder, a_vm(app))) == HIDDEN


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        VM.model_dump,
        VM.model_dump_json,
        VM.to_json,
        lambda vm: vm.model_dump(mode="json"),
        lambda vm: vm.apps[0].secrets,
        lambda vm: vm.apps[0].secrets[0].value,
    ],
)
def test_a_secret_is_never_shown(folder: Path, show: Callable[[VM], object]) -> None:
    shown = str(show(read(folder, a_vm(WITH_SECRET))))
    assert HIDDEN not in shown
    assert "**********" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            HIDDEN,
            (
                "secrets.env, line 2: expected KEY=VALUE, found a line without =. Write it like"
                " LINKS_STRIPE_KEY=sk_live_1, or start it with # to make it a comment.\n"
                "No server was contacted.\n"
            ),
        ),
        ("A=\udcff", "secrets.env can't be read as UTF-8 text: UnicodeDecodeError.\n"),
    ],
)
def test_a_bad_line_of_secrets_env_is_refused_unseen(
    secret: Path, refusal: Callable[..., str], line: str, message: str
) -> None:
    secret.write_bytes(f"OTHER=1\n{line}\n".encode(errors="surrogateescape"))
    output = refusal(a_vm(WITH_SECRET))
    assert message in output
    assert HIDDEN not in output


def test_a_file_of_secrets_holds_pairs_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text("# comment\n\n  A = b c \nURL=postgresql://u:p@h/d?a=b\n #x\nEMPTY=\n")
    assert read_env_file(path) == {"A": "b c", "URL": "postgresql://u:p@h/d?a=b", "EMPTY": ""}


def test_an_absent_file_of_secrets_holds_nothing(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / "secrets.env") == {}


def test_settings_are_frozen(folder: Path) -> None:
    vm = read(folder, a_vm(an_app(processes=[{"name": "queue", "command": "x"}])))
    [app] = vm.apps
    groups: list[BaseModel] = [vm, vm.tls, vm.postgresql, app, app.web, app.processes[0]]
    for group in groups:
        for field in type(group).model_fields:
            with pytest.raises(ValidationError, match="Instance is frozen"):
                setattr(group, field, None)


@pytest.mark.parametrize("group", [VM, TLS, PostgreSQL, App, Web, Process])
def test_every_setting_is_documented(group: type[BaseModel]) -> None:
    for name, field in group.model_fields.items():
        assert field.description, f"{group.__name__}.{name}"


def test_the_host_of_a_server_for_root(folder: Path) -> None:
    [(address, data)] = servers(a_vm(), beside=str(folder / "inventory.py"))
    vm = data.pop("vm")
    assert address == "203.0.113.10"
    assert isinstance(vm, VM)
    assert data == {
        "ssh_user": "root",
        "ssh_paramiko_connect_kwargs": {"transport_factory": no_delay},
        "unedited": data["unedited"],
        "_sudo": False,
        "_shell_executable": "nice -n 5 sh",
    }


def test_the_host_of_a_server_for_another_user(folder: Path) -> None:
    for file in ("key", "ssh_config"):
        (folder / file).touch()
    ssh = {"ssh_user": "admin", "ssh_port": 2222, "ssh_key": "key", "ssh_config": "ssh_config"}
    [(_, data)] = servers(a_vm(**ssh), beside=str(folder / "inventory.py"))
    del data["vm"]
    assert data == {
        "ssh_user": "admin",
        "ssh_port": 2222,
        "ssh_key": str(folder / "key"),
        "ssh_config_file": str(folder / "ssh_config"),
        "ssh_paramiko_connect_kwargs": {"transport_factory": no_delay},
        "unedited": data["unedited"],
        "_sudo": True,
        "_shell_executable": "nice -n 5 sh",
    }


def test_several_servers_keep_their_order(folder: Path) -> None:
    vms = [a_vm(address=address) for address in ("b.example.com", "a.example.com")]
    hosts = servers(*vms, beside=str(folder / "inventory.py"))
    assert [address for address, _ in hosts] == ["b.example.com", "a.example.com"]


def test_without_a_file_paths_are_seen_from_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    [(_, data)] = servers(a_vm())
    assert data["vm"].apps[0].source == folder / "app"


@pytest.mark.parametrize(
    ("databases", "local"),
    [(["local", "none"], ["app-0"]), (["none"], []), (["local", "local"], ["app-0", "app-1"])],
)
def test_apps_with_a_database_on_the_server(
    folder: Path, databases: list[str], local: list[str]
) -> None:
    apps: list[dict[str, Any]] = [
        an_app(name=f"app-{i}", domains=[f"{i}.example.com"], database=database)
        for i, database in enumerate(databases)
    ]
    assert [app.name for app in read(folder, a_vm(*apps)).local_apps] == local


def test_one_app_of_several_is_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apps = [an_app(name=name, domains=[f"{name}.example.com"]) for name in ("one", "two")]
    vm = read(folder, a_vm(*apps))
    assert vm.chosen(None) == vm.apps
    assert vm.chosen("two") == vm.apps[1:]
    with pytest.raises(SystemExit) as stopped:
        vm.chosen("three")
    assert stopped.value.code == REFUSED
    message = "203.0.113.10 has no app three; its apps: one, two. Nothing was changed.\n"
    assert capsys.readouterr().err == message


def test_what_only_the_installation_gets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [app] = read(folder, a_vm()).apps
    assert app.credentials == ""
    (folder / "key").write_text("KEY\n")
    (folder / "known").write_text("git.example.com ssh-ed25519 AAAA\n")
    monkeypatch.setenv("LINKS_UV_INDEX_CORP_PASSWORD", "s3cret")
    files = {"git_key": "key", "git_known_hosts": "known"}
    given = an_app(install_secrets=["UV_INDEX_CORP_PASSWORD"], **files)
    [app] = read(folder, a_vm(given)).apps
    assert json.loads(app.credentials) == {
        "environment": {"UV_INDEX_CORP_PASSWORD": "s3cret"},
        "key": "KEY\n",
    }
    assert "s3cret" not in repr(app) + json.dumps(app.to_json())
    assert app.secrets == [], "the running app does not get it"


def test_a_key_for_git_needs_the_keys_of_its_servers(refusal: Refusal, folder: Path) -> None:
    (folder / "key").write_text("KEY\n")
    assert refusal(a_vm(an_app(git_key="key"))) == report(
        "apps[0].git_known_hosts",
        "a known_hosts file with the git server's host keys",
        "none",
        "run `ssh-keyscan HOST > known_hosts`, and compare what `ssh-keygen -lf known_hosts`"
        " prints with the fingerprints that the host publishes",
    )


@pytest.mark.parametrize(
    ("static", "expected"),
    [
        ([{"path": "/s", "folder": "none"}], "a folder in `source`"),
        ([{"path": "/s", "folder": "../app"}], "a folder below `source`"),
        ([{"path": "/s", "folder": "/etc"}], "a folder below `source`"),
        ([{"path": "/", "folder": "links"}], 'a unique path for each folder, other than "/"'),
        ([{"path": p, "folder": "links"} for p in ("/s", "/s/")], "a unique path for each"),
        ([{"path": "/s/../..", "folder": "links"}], "a unique path for each"),
    ],
)
def test_folders_that_nginx_can_not_serve_are_refused(
    refusal: Refusal, static: list[dict[str, str]], expected: str
) -> None:
    assert expected in refusal(a_vm(an_app(static=static)))


@pytest.mark.parametrize("package", ["lib magic", "-y", "git;id", "Libmagic1"])
def test_what_is_no_debian_package_is_refused(refusal: Refusal, package: str) -> None:
    assert "the name of a Debian package" in refusal(a_vm(an_app(packages=[package])))


def test_secrets_env_reads_as_a_shell_would(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text("export A=one\nB=\"two words\"\nC='three'\nD='\n")
    assert read_env_file(path) == {"A": "one", "B": "two words", "C": "three", "D": "'"}
