"""A deploy releases what changed, once, and never a broken release."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab_server import PROJECT, Server

ODD = r"""a "quoted" 'value' with $HOME, `id`, \n, %i, #hash; and ünïcode"""


@pytest.fixture(scope="module")
def changed(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A copy with its own copy of the app, for tests that edit it."""
    server = copy("12")
    source = tmp_path_factory.mktemp("source") / "app"
    shutil.copytree(PROJECT / "app", source, ignore=shutil.ignore_patterns(".venv", ".*_cache"))
    server.app["source"] = str(source)
    return server


@pytest.fixture
def code(changed: Server) -> Iterator[Path]:
    """The app's main module, restored after the test."""
    path = Path(changed.app["source"]) / "links/main.py"
    text = path.read_text()
    yield path
    path.write_text(text)


def test_one_changed_line_is_one_new_release(changed: Server, code: Path) -> None:
    before = changed.release()
    code.write_text(code.read_text() + "# a line more\n")
    assert changed.deploy()["success"] == ["Releases | Release links"]
    after = changed.release()
    assert after != before
    assert after.split("-")[1] == before.split("-")[1], "the configuration is the same"
    assert changed.deploy()["success"] == []


def test_a_changed_secret_is_a_new_release_of_the_same_artifact(
    changed: Server, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del code
    changed.deploy()
    before = changed.release()
    monkeypatch.setenv("LINKS_API_KEY", "the-secret-itself")
    changed.app["secrets"] = ["API_KEY"]
    result = changed.pyinfra("-y", "-vvv", "--diff")
    changed.app["secrets"] = []
    assert result.returncode == 0, result.stderr
    assert "the-secret-itself" not in result.stdout + result.stderr
    after = changed.release()
    assert after.split("-")[0] == before.split("-")[0], "the artifact is the same"
    assert after != before
    assert "the-secret-itself" not in changed.run("ps -eo args")
    leaks = changed.run(
        "grep -rlsF the-secret-itself /etc /srv /var /run /tmp --exclude-dir=journal"
    )
    assert leaks == "/etc/links/secrets.env"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("raise RuntimeError('broken on purpose')", "broken on purpose"),
        ("app = None", "did not become ready"),
    ],
)
def test_a_broken_release_never_serves(
    changed: Server, code: Path, broken: str, message: str
) -> None:
    changed.deploy()
    before = changed.release()
    code.write_text(code.read_text() + f"\n{broken}\n")
    result = changed.pyinfra("-y")
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback (most recent call last)" not in result.stderr.split("Release links")[0]
    assert changed.release() == before
    assert changed.run("systemctl --failed --no-legend") == ""


def test_rollback_to_the_previous_and_to_a_named_release(changed: Server, code: Path) -> None:
    changed.deploy()
    first = changed.release()
    code.write_text(code.read_text() + "# another line\n")
    changed.deploy()
    second = changed.release()
    changed.run("onebox-release rollback links")
    assert changed.release() == first
    changed.run(f"onebox-release rollback links {second}")
    assert changed.release() == second


def test_a_rollback_to_an_altered_release_is_refused(changed: Server, code: Path) -> None:
    code.write_text(code.read_text() + "# a third line\n")
    kept = changed.release()
    changed.deploy()
    live = changed.release()
    file = f"/srv/links/releases/{kept}/app/links/main.py"
    changed.run(f"echo '# by hand' >> {file}")
    output = changed.run(f"onebox-release rollback links {kept} 2>&1; echo code $?")
    assert f"{file} was altered" in output
    assert output.endswith("code 4")
    assert changed.release() == live
    changed.run(f"sed -i '$d' {file} && onebox-release rollback links {kept}")
    assert changed.release() == kept


def test_a_domain_without_a_certificate_takes_nothing_down(changed: Server) -> None:
    """For example a mistyped one: it gets no certificate, and the app keeps its current domain."""
    domains = changed.app["domains"]
    changed.app["domains"] = ["mistyped.onebox.test"]
    result = changed.pyinfra("-y")
    changed.app["domains"] = domains
    message = (
        "No certificate for mistyped.onebox.test: mistyped.onebox.test has no address in DNS. Fix:"
        " point its A record at the server; then deploy again."
    )
    assert_rest_was_done(
        result, message, f"{message} Until then links is served at https://{domains[0]}/."
    )
    assert changed.request("GET", "/health/ready").is_success
    changed.deploy()
    assert changed.deploy()["success"] == []


def test_an_unreachable_acme_server_stops_nothing_else(changed: Server) -> None:
    """The next deploy tries again."""
    tls = changed.entry["tls"]
    changed.entry["tls"] = {**tls, "server": "https://127.0.0.1:9/directory"}
    result = changed.pyinfra("-y")
    changed.entry["tls"] = tls
    message = (
        f"No certificate for {changed.domain}: the ACME server 127.0.0.1:9 can't be reached from"
        " the server (connection refused). Fix: run `curl -I https://127.0.0.1:9/directory` on the"
        " server; then deploy again."
    )
    assert_rest_was_done(result, message, f"{message} Until then links is served at ")
    assert changed.request("GET", "/health/ready").is_success


def assert_rest_was_done(result: subprocess.CompletedProcess[str], *messages: str) -> None:
    """Check that a run reports a failure at the operation and at its end, and does all the rest."""
    assert result.returncode == 1
    _, _, rest = result.stderr.partition("Obtain a certificate")
    during, _, end = rest.partition("Done | Check that the apps respond")
    assert messages[0] in during
    assert messages[1] in end
    assert "Traceback" not in rest
    for done in ("timer of certificate renewal", "Record who has access", "timer of monitoring"):
        assert done in during


def test_the_secret_key_stays_the_same(changed: Server, code: Path) -> None:
    before = changed.run("sha256sum /etc/links/generated.env")
    code.write_text(code.read_text() + "# one more\n")
    changed.deploy()
    assert changed.run("sha256sum /etc/links/generated.env") == before


def test_a_second_app_gets_no_forged_address_and_its_whole_environment(changed: Server) -> None:
    """A second app, without a database, on the same server."""
    domain = "echo." + changed.domain
    echo = {
        "name": "echo",
        "source": str(PROJECT / "tests/e2e/apps/echo"),
        "module": "echo:app",
        "domains": [domain],
        "database": "none",
        "health": "/",
        "env": {"ECHO_ODD": ODD},
    }
    changed.entry["apps"].append(echo)
    try:
        changed.deploy()
        assert changed.deploy()["success"] == []
        forged = {
            "X-Forwarded-For": "6.6.6.6",
            "X-Real-IP": "6.6.6.6",
            "X-Client-IP": "6.6.6.6",
            "Remote-User": "6.6.6.6",
            "Forwarded": "for=6.6.6.6",
            "X-Forwarded-Proto": "http",
        }
        received = changed.request("GET", "/", domain=domain, headers=forged).json()
        isolated = changed.run(
            "runuser -u echo -- ls /var/lib/links /srv/links/releases/*/app", check=False
        )
    finally:
        changed.entry["apps"].pop()
    assert received["client"] != "6.6.6.6"
    assert received["scheme"] == "https"
    assert "6.6.6.6" not in str(received["headers"])
    assert received["environment"] == {"ECHO_ODD": ODD}
    assert isolated == ""
