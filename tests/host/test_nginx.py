"""nginx, and what it serves to the internet."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from . import outside
from .connection import Host

if TYPE_CHECKING:
    from settings.app import App

CONFIGURATION = "/etc/onebox/nginx/nginx.conf"
UNKNOWN = "unknown.invalid"


def test_nginx_runs_and_starts_at_boot(host: Host) -> None:
    assert host.service("nginx.service").is_running
    assert host.service("nginx.service").is_enabled


def test_nginx_is_always_restarted(host: Host) -> None:
    properties = host.service("nginx.service").systemd_properties
    assert properties["Restart"] == "always"
    assert properties["RestartUSec"] == "1s"
    assert properties["StartLimitIntervalUSec"] == "0"


def test_running_nginx_uses_our_configuration(host: Host) -> None:
    pid = host.service("nginx.service").systemd_properties["MainPID"]
    assert f" -c {CONFIGURATION} " in host.check_output("ps -o args= -p %s", pid)


def test_configuration_on_disk_is_valid(host: Host) -> None:
    assert host.run("/usr/sbin/nginx -t -q -c %s", CONFIGURATION).stderr == ""


def test_only_root_can_change_the_configuration(host: Host) -> None:
    command = "find /etc/onebox ! -type l '(' ! -user root -o -perm /022 ')'"
    assert host.check_output(command) == ""


def test_ports_80_and_443_are_reachable_from_here(unreachable: str) -> None:
    assert not unreachable, unreachable


def test_http_redirects_to_https_with_path_and_query(address: str, app: App) -> None:
    for domain in app.domains:
        answer = outside.get(f"http://{domain}/some/path?query=1&other=2", address)
        assert answer.status_code == httpx.codes.PERMANENT_REDIRECT
        assert answer.headers["location"] == f"https://{domain}/some/path?query=1&other=2"


def test_acme_challenges_are_served_over_http(address: str, app: App) -> None:
    for domain in app.domains:
        url = f"http://{domain}/.well-known/acme-challenge/missing"
        assert outside.get(url, address).status_code == httpx.codes.NOT_FOUND


def test_unknown_name_gets_no_response_over_http(address: str) -> None:
    # Closed or reset: nginx resets connections that it closes with code 444.
    closed = (httpx.RemoteProtocolError, httpx.ReadError)
    with pytest.raises(closed, match=r"without sending|reset"):
        outside.get(f"http://{UNKNOWN}/", address)


@pytest.mark.parametrize("name", [UNKNOWN, None], ids=["unknown", "none"])
def test_unknown_name_is_rejected_in_the_tls_handshake(address: str, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        outside.handshake(address, name, outside.unverified()).close()


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)
def test_modern_tls_is_accepted(address: str, app: App, version: ssl.TLSVersion) -> None:
    context = outside.unverified()
    context.minimum_version = context.maximum_version = version
    with outside.handshake(address, app.domains[0], context) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="this machine's OpenSSL has no TLS 1.1")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_tls_is_rejected(address: str, app: App) -> None:
    context = outside.unverified()
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL on this machine would refuse
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
        outside.handshake(address, app.domains[0], context).close()


def test_browsers_must_stay_with_https(address: str, app: App) -> None:
    for path in (app.health, "/no/such/page"):
        answer = outside.get(f"https://{app.domains[0]}{path}", address)
        assert answer.headers["strict-transport-security"] == "max-age=63072000"


def test_no_version_is_disclosed(address: str, app: App) -> None:
    answer = outside.get(f"https://{app.domains[0]}{app.health}", address)
    assert answer.headers["server"] == "nginx"


def test_large_logs_are_rotated_every_minute(host: Host) -> None:
    assert host.service("onebox-logrotate.timer").is_running
    assert host.service("onebox-logrotate.timer").is_enabled
    tried = host.run("/usr/sbin/logrotate --debug /etc/onebox/logrotate.conf 2>&1")
    assert tried.rc == 0
    assert "error:" not in tried.stdout


@pytest.mark.parametrize("path", ["/.env", "/.git/config", "/static/.env", "/.well-known/.env"])
def test_hidden_files_are_not_found(address: str, app: App, path: str) -> None:
    answer = outside.get(f"https://{app.domains[0]}{path}", address)
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert "x-release" not in answer.headers, "the app responded instead of nginx"
