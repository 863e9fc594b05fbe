"""Each app's certificate and its renewal."""

from __future__ import annotations

import re
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from . import outside
from .connection import Host, owner_and_mode

if TYPE_CHECKING:
    from settings import VM
    from settings.app import App

TIMER = "onebox-certbot.timer"
WEBROOT = "/var/lib/onebox/acme"
PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"
# OpenSSL's verify codes: unable to get issuer, self-signed leaf, self-signed in chain, and more.
UNKNOWN_ISSUER = {2, 18, 19, 20, 21}


@pytest.fixture(scope="session")
def renewal(host: Host, app: App) -> dict[str, str]:
    """certbot's renewal configuration of the app's certificate."""
    text = host.file(f"/etc/letsencrypt/renewal/{app.name}.conf").content_string
    return dict(re.findall(r"^(\S+) = (.*)$", text, re.MULTILINE))


def test_certificate_served_is_the_one_on_disk(host: Host, address: str, app: App) -> None:
    live = f"/etc/letsencrypt/live/{app.name}"
    on_disk = host.file(f"{live}/cert.pem").content_string
    assert host.file(f"{live}/fullchain.pem").content_string.startswith(on_disk)
    for domain in app.domains:
        with outside.handshake(address, domain, outside.unverified()) as connection:
            served = connection.getpeercert(binary_form=True)
        assert served == ssl.PEM_cert_to_DER_cert(on_disk)


def test_certificate_is_trusted_for_every_domain(address: str, vm: VM, app: App) -> None:
    own = [vm.tls.server_ca.read_text()] if vm.tls.server_ca else []
    for domain in app.domains:
        try:
            with outside.handshake(address, domain, outside.trusted(*own)) as connection:
                assert connection.getpeercert()
        except ssl.SSLCertVerificationError as error:
            if vm.tls.server == PUBLIC or error.verify_code not in UNKNOWN_ISSUER:
                raise
            pytest.skip(
                f"{outside.UNVERIFIED} who issued the certificate of {domain}: this machine does"
                f" not trust {urlsplit(vm.tls.server).netloc}. It is the certificate on the server."
                " Fix: set `tls.server_ca` or SSL_CERT_FILE to the issuer's root."
            )


def test_certificate_is_for_the_apps_domains_and_no_others(address: str, app: App) -> None:
    with outside.handshake(address, app.domains[0]) as connection:
        certificate = connection.getpeercert() or {}
    names = {("DNS", domain) for domain in app.domains}
    assert set(certificate["subjectAltName"]) == names


def test_certificate_has_not_expired(host: Host, app: App) -> None:
    pem = f"/etc/letsencrypt/live/{app.name}/cert.pem"
    end = host.check_output("openssl x509 -noout -enddate -in %s", pem)
    assert ssl.cert_time_to_seconds(end.removeprefix("notAfter=")) > time.time()


def test_only_root_can_read_private_key(host: Host, app: App) -> None:
    key = host.file(host.file(f"/etc/letsencrypt/live/{app.name}/privkey.pem").linked_to)
    assert owner_and_mode(key) == "root:root 600"


def test_renewal_timer_is_active(host: Host) -> None:
    assert host.service(TIMER).is_enabled
    assert host.service(TIMER).is_running
    assert host.service(TIMER).systemd_properties["NextElapseUSecRealtime"]


def test_last_renewal_succeeded(host: Host) -> None:
    assert host.service("onebox-certbot.service").systemd_properties["Result"] == "success"


def test_renewal_uses_the_inventorys_acme_server_and_webroot(
    renewal: dict[str, str], vm: VM, app: App
) -> None:
    assert renewal["server"] == vm.tls.server
    assert renewal["authenticator"] == "webroot"
    assert {domain: renewal[domain] for domain in app.domains} == dict.fromkeys(
        app.domains, WEBROOT
    )


def test_nginx_is_reloaded_after_a_renewal(host: Host) -> None:
    hook = host.file("/etc/letsencrypt/renewal-hooks/deploy/onebox")
    assert owner_and_mode(hook) == "root:root 755"
    assert "systemctl reload nginx" in hook.content_string
